//! Real clients of registries: what they get is recorded, and replayed bit for bit.
