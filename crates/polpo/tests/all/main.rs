//! The program as a whole, on real input, judged by real programs.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod apk_change;
mod apk_choices;
mod apk_confined;
mod apk_make;
mod apk_query;
mod apk_system;
mod apk_terminal;
mod apko;
mod build_options;
mod clients;
mod freshness;
mod image_diff;
mod image_erofs;
mod interrupted;
mod java;
mod keyless;
mod melange;
mod messages;
mod network;
mod programs;
mod pulled;
mod rebuilt;
mod recipe;
mod recipe_files;
mod refused;
mod registry;
mod remote;
mod signing;
mod spine;
mod trust;
mod verified;
mod world;
mod yard;
