//! Who may send browser requests here: pure rules over `Origin` and `Host`.
//!
//! There is no authentication yet, so a page of another site must not be able to reach a gateway on the visitor's own
//! machine: neither by a cross-origin request, nor by a name that is made to resolve to loopback (DNS rebinding).

use http::Uri;

/// The rules of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    any: bool,
    /// Allowed origins, normalised.
    allowed: Vec<Site>,
    /// Whether `Host` must name this machine: the listener is bound to loopback.
    loopback: bool,
}

/// What the rules say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No browser, or a page of this server.
    Same,
    /// A page of an allowed origin: its answers carry CORS headers.
    Allowed,
    /// A page of another origin.
    ForeignOrigin,
    /// `Host` names something that is not this machine.
    ForeignHost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    scheme: String,
    host: String,
    port: u16,
}

impl Site {
    /// Reads `scheme://host[:port]`.
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some(Self { scheme, host: authority.host().to_ascii_lowercase(), port })
    }
}

impl Origins {
    /// `allowed` as in the settings: origins, or `*`.
    pub(crate) fn new(allowed: &[String], loopback: bool) -> Self {
        let any = allowed.iter().any(|origin| origin == "*");
        Self { any, allowed: allowed.iter().filter_map(|o| Site::parse(o)).collect(), loopback }
    }

    /// Judges a request by its `Origin` and its `Host` (or authority).
    pub(crate) fn judge(&self, origin: Option<&str>, host: Option<&str>) -> Verdict {
        if self.loopback && host.is_some_and(|host| !self.is_ours(host)) {
            return Verdict::ForeignHost;
        }
        let Some(origin) = origin else { return Verdict::Same };
        let Some(site) = Site::parse(origin) else {
            // `null`: a sandboxed page or a local file.
            return if self.any { Verdict::Allowed } else { Verdict::ForeignOrigin };
        };
        // Behind a proxy that ends TLS the schemes differ, so the scheme only gives the default port.
        let own = host.and_then(|host| Site::parse(&format!("{}://{host}", site.scheme)));
        if own.as_ref() == Some(&site) {
            Verdict::Same
        } else if self.any || self.allowed.contains(&site) {
            Verdict::Allowed
        } else {
            Verdict::ForeignOrigin
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        // Nearly every request: no need to take the name apart.
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        if matches!(name, "localhost" | "127.0.0.1") && port.bytes().all(|b| b.is_ascii_digit()) {
            return true;
        }
        let Some(site) = Site::parse(&format!("http://{host}")) else { return false };
        let name = site.host.trim_start_matches('[').trim_end_matches(']');
        let address = name.parse::<std::net::IpAddr>();
        address.is_ok_and(|at| at.is_loopback())
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.allowed.iter().any(|allowed| allowed.host == site.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_and_rebound_names_are_refused() {
        use Verdict::*;
        let rules = Origins::new(&["https://app.example.com".into(), "http://localhost:3000".into()], true);
        for (origin, host, want) in [
            (None, Some("127.0.0.1:3013"), Same),
            (None, Some("localhost:3013"), Same),
            (None, Some("[::1]:3013"), Same),
            (None, None, Same),
            (None, Some("evil.example:3013"), ForeignHost),
            (None, Some("localhost.evil.example"), ForeignHost),
            (None, Some("not a host"), ForeignHost),
            (None, Some("app.example.com"), Same),
            (Some("http://127.0.0.1:3013"), Some("127.0.0.1:3013"), Same),
            (Some("http://LOCALHOST:3013"), Some("localhost:3013"), Same),
            (Some("http://localhost:3000"), Some("localhost:3013"), Allowed),
            (Some("http://localhost:3001"), Some("localhost:3013"), ForeignOrigin),
            (Some("https://app.example.com"), Some("localhost:3013"), Allowed),
            (Some("https://app.example.com:443"), Some("localhost:3013"), Allowed),
            (Some("http://app.example.com"), Some("localhost:3013"), ForeignOrigin),
            (Some("null"), Some("localhost:3013"), ForeignOrigin),
            (Some("http://evil.example"), Some("localhost:3013"), ForeignOrigin),
        ] {
            assert_eq!(rules.judge(origin, host), want, "{origin:?} to {host:?}");
        }
    }

    #[test]
    fn behind_a_proxy_the_page_of_the_same_host_is_the_same_origin() {
        let rules = Origins::new(&[], false);
        let judge = |origin, host| rules.judge(Some(origin), Some(host));
        assert_eq!(judge("https://orchestra.example", "orchestra.example"), Verdict::Same);
        assert_eq!(judge("https://orchestra.example:8443", "orchestra.example"), Verdict::ForeignOrigin);
        assert_eq!(Origins::new(&["*".into()], false).judge(Some("null"), Some("x")), Verdict::Allowed);
    }
}
