//! Steps of the reconciler on a real directory, with the clock in hand.

use std::fs;
use std::path::Path;

use regcache_mirror::plan::CacheRef;
use tempfile::TempDir;

use super::*;

struct Node {
    root: TempDir,
    now: Instant,
    reconciler: Reconciler,
    input: Input,
}

fn upstream(host: &str) -> UpstreamPlan {
    UpstreamPlan {
        host: host.into(),
        server: format!("https://{host}"),
        mode: Mode::Enforce,
        caches: vec![CacheRef {
            name: "c".into(),
            url: "http://10.0.0.1:5000".into(),
            region: "r".into(),
            ns: false,
            probe: false,
        }],
    }
}

fn reconciler(root: &Path, ca: &str, now: Instant) -> Reconciler {
    let certs = CertsDir::new(root, "/etc/containerd/certs.d");
    Reconciler::new(certs, ca.into(), 21500, Arc::default(), now)
}

impl Node {
    /// A node with everything well and a plan for these upstreams.
    fn new(upstreams: Vec<UpstreamPlan>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let now = Instant::now();
        let reconciler = reconciler(root.path(), "ca", now);
        let usable = upstreams
            .iter()
            .map(|upstream| (upstream.host.clone(), Ok(())))
            .collect();
        let plan = Some(Arc::new(Plan { upstreams }));
        let gateway = Gateway::Up;
        let input = Input { plan, gateway, usable };
        Self {
            root,
            now,
            reconciler,
            input,
        }
    }

    fn step(&mut self) -> BTreeMap<String, Upstream> {
        self.reconciler.step(&self.input, self.now)
    }

    /// Steps every two seconds for so long.
    fn steps(&mut self, seconds: u64) -> BTreeMap<String, Upstream> {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now += Duration::from_secs(2);
            self.step();
        }
        self.step()
    }

    fn plan(&mut self, upstreams: Vec<UpstreamPlan>) {
        self.input.plan = Some(Arc::new(Plan { upstreams }));
    }

    fn hosts_toml(&self, host: &str) -> Option<String> {
        fs::read_to_string(self.root.path().join(host).join("hosts.toml")).ok()
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.root.path()).unwrap().count()
    }
}

fn one(host: &str, state: Upstream) -> BTreeMap<String, Upstream> {
    BTreeMap::from([(host.to_owned(), state)])
}

#[test]
fn published_once_and_then_left_alone() {
    let mut node = Node::new(vec![upstream("a")]);
    assert_eq!(node.step(), one("a", Upstream::Published));
    let path = node.root.path().join("a/hosts.toml");
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    // Every cache is gone: that is the gateway's business, not the file's.
    node.input.usable.insert("a".into(), Err("down".into()));
    assert_eq!(node.steps(120), one("a", Upstream::Published));
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written);
}

#[test]
fn not_published_before_a_cache_may_be_used() {
    let mut node = Node::new(vec![upstream("a")]);
    node.input.usable.insert("a".into(), Err("c does not answer".into()));
    let why = "no cache may be used: c does not answer";
    assert_eq!(node.steps(28), one("a", Upstream::Waiting(why.into())));
    assert_eq!(node.steps(60), one("a", Upstream::Unanswered(why.into())));
    assert_eq!(node.entries(), 0);
    node.input.usable.insert("a".into(), Ok(()));
    assert_eq!(node.step(), one("a", Upstream::Published));
}

#[test]
fn each_upstream_waits_for_its_cache_from_when_it_comes() {
    let mut node = Node::new(vec![upstream("a")]);
    node.steps(60);
    node.plan(vec![upstream("a"), upstream("b")]);
    assert!(matches!(node.steps(20)["b"], Upstream::Waiting(_)), "not asked yet");
    // Without a gateway there is nothing that a cache could be missing for.
    node.input.gateway = Gateway::Starting;
    assert!(matches!(node.steps(60)["b"], Upstream::Waiting(_)));
    node.input.gateway = Gateway::Up;
    assert!(matches!(node.steps(2)["b"], Upstream::Unanswered(_)));
}

#[test]
fn not_published_before_the_gateway_answers() {
    let mut node = Node::new(vec![upstream("a")]);
    for gateway in [Gateway::Starting, Gateway::Down("taken".into())] {
        node.input.gateway = gateway;
        assert_eq!(
            node.steps(60),
            one("a", Upstream::Waiting("waits for the gateway".into()))
        );
        assert_eq!(node.entries(), 0);
    }
}

#[test]
fn no_plan_changes_nothing() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    node.input.plan = None;
    node.steps(60);
    assert!(node.hosts_toml("a").is_some());
}

#[test]
fn an_empty_plan_takes_everything_away() {
    let mut node = Node::new(vec![upstream("a"), upstream("b:5000")]);
    node.step();
    fs::create_dir(node.root.path().join("theirs")).unwrap();
    fs::write(node.root.path().join("theirs/hosts.toml"), "x").unwrap();
    node.plan(Vec::new());
    node.step();
    assert_eq!((node.hosts_toml("a"), node.hosts_toml("b:5000")), (None, None));
    assert!(node.root.path().join("a").exists(), "the CA outlives the file");
    node.steps(4);
    assert_eq!(node.entries(), 1);
    assert_eq!(node.hosts_toml("theirs").as_deref(), Some("x"));
}

#[test]
fn observe_and_a_plan_without_caches_write_nothing_and_take_away() {
    let observed = UpstreamPlan {
        mode: Mode::Observe,
        ..upstream("a")
    };
    let bare = UpstreamPlan {
        caches: Vec::new(),
        ..upstream("a")
    };
    for (plan, state) in [(observed, Upstream::Observed), (bare, Upstream::NoCache)] {
        let mut node = Node::new(vec![plan.clone()]);
        assert_eq!(node.steps(4), one("a", state.clone()));
        assert_eq!(node.entries(), 0);
        node.plan(vec![upstream("a")]);
        assert_eq!(node.step(), one("a", Upstream::Published));
        node.plan(vec![plan]);
        assert_eq!(node.steps(4), one("a", state));
        assert_eq!(node.entries(), 0);
    }
}

#[test]
fn another_server_in_the_plan_is_written_at_once() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    node.input.usable.insert("a".into(), Err("down".into()));
    node.plan(vec![UpstreamPlan {
        server: "https://elsewhere".into(),
        ..upstream("a")
    }]);
    assert_eq!(node.step(), one("a", Upstream::Published));
    assert!(node.hosts_toml("a").unwrap().contains("https://elsewhere"));
}

#[test]
fn what_others_remove_comes_back_but_nobody_is_fought() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    let mut repairs = 0;
    for _ in 0..150 {
        fs::remove_file(node.root.path().join("a/hosts.toml")).ok();
        node.steps(2);
        repairs += usize::from(node.hosts_toml("a").is_some());
    }
    assert!((4..10).contains(&repairs), "{repairs} in five minutes");
    node.steps(1200);
    assert!(node.hosts_toml("a").is_some());
}

#[test]
fn what_becomes_somebody_elses_is_left_to_them() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    fs::write(node.root.path().join("a/hosts.toml"), "theirs").unwrap();
    assert!(
        matches!(&node.steps(10)["a"], Upstream::Skipped(why) if why.contains("/etc/containerd/certs.d/a/hosts.toml"))
    );
    assert_eq!(node.hosts_toml("a").as_deref(), Some("theirs"));
    assert_eq!(
        fs::read_dir(node.root.path().join("a")).unwrap().count(),
        1,
        "our CA is gone"
    );
    // They leave: ours again.
    fs::remove_dir_all(node.root.path().join("a")).unwrap();
    assert_eq!(node.step(), one("a", Upstream::Published));
}

#[test]
fn a_default_that_appears_makes_ours_go() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    fs::create_dir(node.root.path().join("_default")).unwrap();
    assert!(matches!(node.steps(4)["a"], Upstream::Skipped(_)));
    assert_eq!(node.entries(), 1);
}

#[test]
fn a_lost_port_takes_the_files_away_after_a_while_and_gives_them_back() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    node.input.gateway = Gateway::Down("taken".into());
    node.steps(6);
    assert!(node.hosts_toml("a").is_some(), "a successor needs a few seconds");
    node.steps(10);
    assert_eq!(node.entries(), 0);
    node.input.gateway = Gateway::Up;
    assert_eq!(node.step(), one("a", Upstream::Published));
}

#[test]
fn a_taken_port_at_the_start_takes_leftovers_away() {
    let mut node = Node::new(vec![upstream("a")]);
    node.step();
    node.reconciler = reconciler(node.root.path(), "next", node.now);
    node.input.gateway = Gateway::Down("taken".into());
    node.steps(20);
    assert_eq!(node.entries(), 0);
}

#[test]
fn the_next_run_takes_over_or_takes_away() {
    let mut node = Node::new(vec![upstream("a"), upstream("b"), upstream("c")]);
    node.step();
    let before = node.hosts_toml("a");
    node.reconciler = reconciler(node.root.path(), "next", node.now);
    node.plan(vec![upstream("a"), upstream("b")]);
    node.input.usable.insert("b".into(), Err("down".into()));
    node.steps(2);
    assert_ne!(node.hosts_toml("a"), before, "published with the new CA");
    assert!(
        node.hosts_toml("b").is_some(),
        "not at once: its cache may be about to answer"
    );
    assert_eq!(node.hosts_toml("c"), None, "no longer in the plan");
    node.steps(14);
    assert_eq!(node.hosts_toml("b"), None);
    let files = || fs::read_dir(node.root.path().join("a")).unwrap().count();
    assert_eq!(files(), 3, "the old CA stays for those who have just read it");
    node.steps(60);
    assert_eq!(fs::read_dir(node.root.path().join("a")).unwrap().count(), 2);
}

#[test]
fn the_end_takes_away_what_is_its_own() {
    let mut node = Node::new(vec![upstream("a"), upstream("b")]);
    node.step();
    let mut next = reconciler(node.root.path(), "next", node.now);
    let mut input = node.input.clone();
    input.usable.insert("b".into(), Err("down".into()));
    next.step(&input, node.now);
    node.reconciler.withdraw_own(node.now);
    assert!(node.hosts_toml("a").is_some(), "the next run's");
    assert_eq!(node.hosts_toml("b"), None);
    node.reconciler.finish();
    assert_eq!(node.entries(), 1);
    assert_eq!(next.step(&input, node.now)["a"], Upstream::Published);
}

#[test]
fn one_upstream_in_trouble_costs_the_others_nothing() {
    let mut node = Node::new(vec![upstream("a"), upstream("b")]);
    fs::write(node.root.path().join("a"), "a file").unwrap();
    let states = node.step();
    assert!(matches!(states["a"], Upstream::Skipped(_)));
    assert_eq!(states["b"], Upstream::Published);
}

#[test]
fn a_root_that_is_not_there_is_unsupported() {
    let mut node = Node::new(vec![upstream("a")]);
    node.reconciler = reconciler(&node.root.path().join("gone"), "ca", node.now);
    assert!(matches!(&node.step()["a"], Upstream::Unsupported(why) if why.contains("/etc/containerd/certs.d")));
}

#[test]
fn only_what_cannot_pass_is_unsupported() {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let root = Path::new("/etc/containerd/certs.d");
    let io = |kind: std::io::ErrorKind, path: &Path| FilesError::Io {
        action: "write",
        path: path.to_owned(),
        source: kind.into(),
    };
    for kind in [PermissionDenied, ReadOnlyFilesystem] {
        assert!(matches!(
            failed(&io(kind, &root.join("a")), root),
            Upstream::Unsupported(_)
        ));
    }
    assert!(matches!(failed(&io(NotFound, root), root), Upstream::Unsupported(_)));
    assert!(matches!(
        failed(&io(NotFound, &root.join("a")), root),
        Upstream::Waiting(_)
    ));
    assert!(matches!(
        failed(&io(StorageFull, &root.join("a")), root),
        Upstream::Waiting(_)
    ));
}
