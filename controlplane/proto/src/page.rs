//! Long lists of the operator's API, which come in pages (operator.proto).

use tonic::{Response, Status};

use crate::v1;

/// An answer that is one page of a list.
pub trait Page {
    /// What to give as `after` for the rest; empty: this was the last page. Nothing is left in its place.
    fn take_next(&mut self) -> Vec<u8>;
    /// Entries of the list on this page.
    fn count(&self) -> usize;
    /// Puts the entries of the next page behind those of this one.
    fn append(&mut self, next: Self);
}

macro_rules! page {
    ($reply:ident, $list:ident $(, $beside:ident)*) => {
        impl Page for v1::$reply {
            fn take_next(&mut self) -> Vec<u8> {
                std::mem::take(&mut self.next)
            }

            fn count(&self) -> usize {
                self.$list.len() $(+ self.$beside.len())*
            }

            fn append(&mut self, next: Self) {
                self.$list.extend(next.$list);
                $(self.$beside.extend(next.$beside);)*
            }
        }
    };
}

page!(LsdbReply, entries);
page!(RoutesReply, routes);
page!(PrefixesReply, prefixes);
page!(PodsReply, pods);
page!(ListTrafficReply, services);
page!(AuthorisationsReply, authorisations, revocations);
page!(QualityReply, pairs);
page!(PoliciesReply, policies);
page!(ListServicesReply, services);
page!(ListConnectionsReply, connections);

/// All pages as one answer, at most `limit` entries (0 = all). `ask` is called with the limit and `after` of each page; what stands beside the list is
/// that of the first page.
///
/// # Errors
/// As `ask`; also when the daemon gives pages that do not go on.
pub async fn all_pages<R: Page, F>(
    limit: u32,
    mut ask: impl FnMut(u32, Vec<u8>) -> F,
) -> Result<R, Status>
where
    F: Future<Output = Result<Response<R>, Status>>,
{
    let mut all = ask(limit, Vec::new()).await?.into_inner();
    let mut next = all.take_next();
    while !next.is_empty() {
        let told = u32::try_from(all.count()).unwrap_or(u32::MAX);
        let left = match limit {
            0 => 0,
            limit if limit <= told => break,
            limit => limit - told,
        };
        let mut page = ask(left, next.clone()).await?.into_inner();
        let last = std::mem::replace(&mut next, page.take_next());
        if next == last {
            return Err(Status::internal(
                "the daemon gives the same page of its list again",
            ));
        }
        all.append(page);
    }
    Ok(all)
}
