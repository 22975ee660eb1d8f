//! Lists come in pages; commands show one, or all.

use std::future::Future;

use api::{Fault, client::Page};
use clap::Args;

use crate::{exit::Failure, out::Out};

/// Which part of a list to show.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Rows of a page, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    limit: i32,
    /// Goes on after an earlier page; its end names the token.
    #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
    page_token: Option<String>,
    /// All pages.
    #[arg(long)]
    all: bool,
}

impl PageArgs {
    /// Takes the page, or all of them. `fetch` gets page size and token.
    pub(crate) async fn take<T, F>(&self, fetch: impl Fn(i32, String) -> F) -> Result<Page<T>, Failure>
    where
        F: Future<Output = Result<Page<T>, Fault>>,
    {
        let size = if self.all { 1000 } else { self.limit };
        let mut page = fetch(size, self.page_token.clone().unwrap_or_default()).await?;
        while self.all
            && let Some(token) = page.next_page_token.take()
        {
            let next = fetch(size, token).await?;
            page.items.extend(next.items);
            page.next_page_token = next.next_page_token;
        }
        Ok(page)
    }
}

/// Says that there is more.
pub(crate) fn more<T>(out: &Out, page: &Page<T>) {
    if let Some(token) = &page.next_page_token {
        out.note(format_args!("more: --page-token {token}, or --all"));
    }
}
