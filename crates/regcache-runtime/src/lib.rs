//! What the regcache programs share: telemetry, admin server, shutdown
