//! Recipes and builds: decode, resolve, plan, sandbox, analyse, emit.

pub mod analyse;
pub mod describe;
pub mod emit;
pub mod executor;
pub mod guest;
pub mod lint;
pub mod plan;
pub mod recipe;
pub mod sandbox;
pub mod workspace;
pub mod planning;
pub mod source;
pub mod build_recipe;
pub mod test_run;
