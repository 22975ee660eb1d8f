//! `textkit FUNCTION` reads a text and writes what the function makes of it.

use std::io::Read;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let mut text = String::new();
    if let Err(err) = std::io::stdin().read_to_string(&mut text) {
        eprintln!("standard input: {err}");
        std::process::exit(1);
    }
    let out = match name.as_str() {
        "trimmed" => textkit::trimmed::trimmed(&text),
        _ => {
            eprintln!("usage: textkit trimmed");
            std::process::exit(2);
        }
    };
    print!("{out}");
}
