//! Who a request or a record belongs to, and the proof of it.
//!
//! A [`Tenant`] has two doors, both in [`directory`]: a write key with its tag ([`KeyHolder::claim`]), and the
//! organization id of a record that intake wrote ([`Directory::of_record`]). Everything past them takes `&Tenant`.
//! Nothing in a request body can choose the tenant; the database is the second fence (see [`crate::store`]).
//!
//! ```compile_fail,E0451
//! // A tenant cannot be built by hand: its field is private.
//! fn forge(organization: std::sync::Arc<rollbook::tenant::Organization>) -> rollbook::tenant::Tenant {
//!     rollbook::tenant::Tenant { organization }
//! }
//! ```
//!
//! ```
//! // With a tenant in hand, everything else in the above does compile.
//! fn keep(tenant: rollbook::tenant::Tenant) -> rollbook::tenant::Tenant {
//!     let _: &rollbook::tenant::Organization = tenant.organization();
//!     tenant
//! }
//! ```

mod completion;
pub mod directory;
mod key;
mod organization;
mod slug;

pub use completion::{BadCompletion, Completion};
pub use directory::{Directory, KeyHolder, RecordOwner, ResolveError, Snapshot, Tenant};
pub use key::{KeyDigest, MalformedKey, WriteKey};
pub use organization::{Organization, OrganizationId, State};
pub use slug::{BadSlug, RolePrefix, Slug};
