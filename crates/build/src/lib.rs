//! Recipes and builds: decode, resolve, plan, sandbox, analyse, emit.

pub mod plan;
pub mod recipe;
pub mod sandbox;
