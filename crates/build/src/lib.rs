//! Recipes and builds: decode, resolve, plan, sandbox, analyse, emit.

pub mod analyse;
pub mod authoring;
pub mod build_recipe;
pub mod compare;
pub mod describe;
pub mod emit;
pub mod executor;
pub mod git;
pub mod guest;
pub mod licences;
pub mod lint;
pub mod plan;
pub mod planning;
pub mod provenance;
pub mod published;
pub mod rebuild;
pub mod recipe;
pub mod recording;
pub mod sandbox;
pub mod signing;
pub mod source;
mod survey;
pub mod test_run;
pub mod workspace;
