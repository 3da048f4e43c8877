//! One blob from several sources: resume, stall limits, hold-back, digest
