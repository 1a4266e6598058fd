//! The models, by theme. Each is a few threads of the shipped engine and a property.

mod campaign;
mod cluster;
mod deep;
mod durability;
mod installing;
pub(crate) mod leading;
mod promises;
mod promoting;
mod proposing;
mod reading;
mod replicating;
mod shutdown;
mod transferring;
mod votes;
mod watching;
mod wider;

use crate::harness::Model;

/// All models, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Model> {
    [
        votes::MODELS,
        campaign::MODELS,
        cluster::MODELS,
        durability::MODELS,
        leading::MODELS,
        proposing::MODELS,
        replicating::MODELS,
        installing::MODELS,
        reading::MODELS,
        transferring::MODELS,
        promoting::MODELS,
        watching::MODELS,
        promises::MODELS,
        shutdown::MODELS,
    ]
    .into_iter()
    .flatten()
    .chain(wider::all())
    .chain(deep::MODELS)
}
