//! The regcache operator: RegistryCache objects into caches, plans and node helpers
