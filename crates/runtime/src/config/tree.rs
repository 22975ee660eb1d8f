//! The machinery behind the settings tree: one declaration gives the struct, its defaults, reading by path,
//! showing, bounds and the reference.

use serde_json::Value;

/// What is known about one setting.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Dotted path, `executor.shards`.
    pub path: String,
    /// What it does, from the doc comment.
    pub doc: String,
    /// Its kind in words.
    pub kind: String,
    /// Its bounds in words, if any.
    pub range: Option<String>,
    /// The value of the tree that was asked (the default, in the reference).
    pub value: Value,
}

/// Why a path could not be set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such setting.
    Unknown,
    /// The value breaks this rule.
    Rule(String),
}

/// A section of the tree, or the tree itself.
pub(crate) trait Section: Default {
    /// Appends every setting below, in the order of the declaration.
    fn entries(&self, prefix: &str, out: &mut Vec<Entry>);
    /// Sets the leaf at `path` (relative to this section).
    fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Refusal>;
}

/// Declares a section. Each leaf is `name: Type = default;` or, with bounds, `name: Type = default, in lo..=hi;`.
macro_rules! section {
    (
        $(#[doc = $sdoc:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $default:expr $(, in $range:expr)? ; )*
            $( sections { $( $(#[doc = $subdoc:literal])+ $sub:ident : $subty:ty ; )* } )?
        }
    ) => {
        $(#[doc = $sdoc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $ty, )*
            $( $( $(#[doc = $subdoc])+ pub $sub: $subty, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* $( $( $sub: Default::default(), )* )? }
            }
        }

        impl $crate::config::tree::Section for $name {
            fn entries(&self, prefix: &str, out: &mut Vec<$crate::config::tree::Entry>) {
                #[allow(unused_imports)] // the root has sections only
                use $crate::config::leaf::Leaf as _;
                $( out.push($crate::config::tree::Entry {
                    path: format!("{prefix}{}", stringify!($field)),
                    doc: [$($doc),+].iter().map(|d| d.trim()).collect::<Vec<_>>().join(" "),
                    kind: <$ty as $crate::config::leaf::Leaf>::kind(),
                    range: section!(@show $ty $(, $range)?),
                    value: self.$field.show(),
                }); )*
                $( $( $crate::config::tree::Section::entries(
                    &self.$sub, &format!("{prefix}{}.", stringify!($sub)), out); )* )?
            }

            fn set(&mut self, path: &[&str], value: &serde_json::Value)
                -> Result<(), $crate::config::tree::Refusal> {
                use $crate::config::tree::Refusal;
                match path {
                    $( [stringify!($field)] => {
                        let read: $ty = $crate::config::leaf::Leaf::read(value).map_err(Refusal::Rule)?;
                        $( $crate::config::leaf::check_range(&read, &$range).map_err(Refusal::Rule)?; )?
                        self.$field = read;
                        Ok(())
                    } )*
                    $( $( [stringify!($sub), rest @ ..] =>
                        $crate::config::tree::Section::set(&mut self.$sub, rest, value), )* )?
                    _ => Err(Refusal::Unknown),
                }
            }
        }
    };
    (@show $ty:ty) => { None };
    (@show $ty:ty, $range:expr) => { Some($crate::config::leaf::show_range::<$ty>(&$range)) };
}
pub(crate) use section;
