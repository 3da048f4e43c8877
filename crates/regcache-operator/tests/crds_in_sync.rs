//! The CRD files in `crds/` are what the code says. `REGCACHE_BLESS=1 cargo test -p regcache-operator` rewrites them.

use std::path::Path;

#[test]
fn crd_files_are_what_the_code_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    if std::env::var_os("REGCACHE_BLESS").is_some() {
        regcache_operator::crds::write(&directory).unwrap();
    }
    let wanted = regcache_operator::crds::all().unwrap();
    for (name, text) in &wanted {
        let file = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            file == *text,
            "crds/{name} is stale: run `make crds` and commit the result"
        );
    }
    let mut files: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let names: Vec<_> = wanted.into_iter().map(|(name, _)| name).collect();
    assert_eq!(files, names, "crds/ has a file that nothing generates");
}
