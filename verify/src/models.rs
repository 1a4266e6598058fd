//! The models, by theme. Each is a few threads of the shipped engine and a property.

mod campaign;
mod cluster;
mod durability;
mod leading;
mod shutdown;
mod votes;
mod watching;

use crate::harness::Model;

/// All models, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Model> {
    [
        votes::MODELS,
        campaign::MODELS,
        cluster::MODELS,
        durability::MODELS,
        leading::MODELS,
        watching::MODELS,
        shutdown::MODELS,
    ]
    .into_iter()
    .flatten()
}
