//! Records of a real cluster.
