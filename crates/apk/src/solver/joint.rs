//! One solve over several architectures that keeps versions equal.
