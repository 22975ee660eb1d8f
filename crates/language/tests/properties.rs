//! Random texts and random graphs.

#![allow(clippy::unwrap_used)] // helpers of tests stand outside of them

use language::{
    Format, Limits, Options, analyse, built_in_pattern_sources, compile, format_definition, parse_pattern,
    render,
};
use proptest::prelude::*;

/// Edges of a random graph: task n may wait for any task before it in a hidden order.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1usize..40).prop_flat_map(|n| {
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), n).prop_map(
            move |rows| {
                rows.iter()
                    .enumerate()
                    .map(|(t, picks)| {
                        let mut before: Vec<usize> =
                            picks.iter().filter(|_| t > 0).map(|i| i.index(t.max(1))).collect();
                        before.sort_unstable();
                        before.dedup();
                        before
                    })
                    .collect()
            },
        )
    })
}

/// The text of a graph, its tasks written in the order of `shuffle`.
fn text(graph: &[Vec<usize>], shuffle: &[usize]) -> String {
    let mut out = "name: w\ntasks:\n".to_owned();
    for &t in shuffle {
        let names: Vec<_> = graph[t].iter().map(|b| format!("t{b}")).collect();
        out += &format!(
            "  - id: t{t}\n    depends_on: [{}]\n    expected_duration: {}s\n",
            names.join(", "),
            t % 7 + 1
        );
    }
    out
}

/// Every definition and pattern there is: of the documentation, of `examples/`, of the sources, and the built-in ones.
fn examples() -> &'static [String] {
    static READ: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    READ.get_or_init(|| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let mut found: Vec<String> = built_in_pattern_sources().iter().map(|s| (*s).to_owned()).collect();
        let page = std::fs::read_to_string(format!("{root}../../docs/language.md")).unwrap();
        found
            .extend(page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()));
        for dir in [
            "tests/data/s0",
            "tests/data/s1",
            "tests/data/s2",
            "tests/data/s3",
            "tests/data/s4",
            "../../examples",
        ] {
            let files = std::fs::read_dir(format!("{root}{dir}")).unwrap().map(|entry| entry.unwrap().path());
            let texts = files.filter(|f| f.extension().is_some_and(|e| e == "yaml" || e == "json"));
            found.extend(texts.map(|file| std::fs::read_to_string(file).unwrap()));
        }
        found.sort();
        found
    })
}

/// `source` with one thing wrong.
fn damaged(source: &str, at: &prop::sample::Index, how: u8, other: &prop::sample::Index) -> String {
    let mut lines: Vec<&str> = source.lines().collect();
    if lines.is_empty() {
        return String::new();
    }
    let (line, second) = (at.index(lines.len()), other.index(lines.len()));
    let words = |line: &str| -> Vec<String> {
        line.split_inclusive([' ', ',', ':', '[', ']', '{', '}']).map(str::to_owned).collect()
    };
    let changed = match how {
        0 => {
            lines.remove(line);
            return lines.join("\n");
        }
        1 => {
            lines.insert(line, lines[second]);
            return lines.join("\n");
        }
        2 => {
            lines.swap(line, second);
            return lines.join("\n");
        }
        3 => lines[line].chars().skip(1).collect(),
        4 => {
            // A word of one line in the place of a word of another.
            let (mut here, there) = (words(lines[line]), words(lines[second]));
            if here.is_empty() || there.is_empty() {
                return source.to_owned();
            }
            let place = at.index(here.len());
            here[place] = there[other.index(there.len())].clone();
            here.concat()
        }
        5 => {
            let mut here = words(lines[line]);
            if !here.is_empty() {
                here.remove(other.index(here.len()));
            }
            here.concat()
        }
        _ => lines[line].replace(['{', '['], ""),
    };
    lines[line] = &changed;
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_random_graph_is_ordered_as_a_naive_reference_says(
        graph in graphs(),
        seed in any::<u64>(),
    ) {
        let mut shuffle: Vec<usize> = (0..graph.len()).collect();
        shuffle.sort_by_key(|t| (*t as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let source = text(&graph, &shuffle);
        let outcome = compile(&source, &Options::default());
        let plan = outcome.compiled.unwrap_or_else(|| panic!("{source}{:?}", outcome.findings)).plan;
        prop_assert_eq!(plan.tasks.len(), graph.len());
        let number = |id: &str| id[1..].parse::<usize>().unwrap();
        for (place, task) in plan.tasks.iter().enumerate() {
            let mut names: Vec<_> = task.after.iter().map(|&b| number(&plan.tasks[b as usize].id)).collect();
            names.sort_unstable();
            prop_assert_eq!(&names, &graph[number(&task.id)]);
            prop_assert!(task.after.iter().all(|&b| (b as usize) < place));
        }
        // Levels and the longest way, by recursion over the definition instead of arrays over the plan.
        fn level(graph: &[Vec<usize>], t: usize) -> u32 {
            graph[t].iter().map(|&b| level(graph, b) + 1).max().unwrap_or(0)
        }
        fn longest(graph: &[Vec<usize>], t: usize, memo: &mut Vec<Option<u64>>) -> u64 {
            if let Some(known) = memo[t] { return known; }
            let own = (t % 7 + 1) as u64;
            let best = graph[t].iter().map(|&b| longest(graph, b, memo)).max().unwrap_or(0);
            memo[t] = Some(own + best);
            own + best
        }
        let analysis = analyse(&plan, None);
        if graph.len() <= 16 {
            for (place, task) in plan.tasks.iter().enumerate() {
                prop_assert_eq!(analysis.levels[place], level(&graph, number(&task.id)));
            }
        }
        let mut memo = vec![None; graph.len()];
        let best = (0..graph.len()).map(|t| longest(&graph, t, &mut memo)).max().unwrap();
        prop_assert_eq!(analysis.duration.as_secs(), best);
        let path: u64 = analysis.critical_path.iter().map(|&t| plan.tasks[t as usize].expected.unwrap().as_secs()).sum();
        prop_assert_eq!(path, best);
        for pair in analysis.critical_path.windows(2) {
            prop_assert!(plan.tasks[pair[1] as usize].after.contains(&pair[0]));
        }
    }

    #[test]
    fn a_back_edge_is_a_cycle_and_nothing_else(graph in graphs()) {
        let mut graph = graph;
        let n = graph.len();
        graph[0] = vec![n - 1];
        if n > 1 && !graph[n - 1].contains(&0) {
            graph[n - 1].push(0);
        }
        let order: Vec<usize> = (0..n).collect();
        let findings = compile(&text(&graph, &order), &Options::default()).findings;
        prop_assert!(!findings.is_empty() && findings.iter().all(|f| f.code == "cycle"), "{:?}", findings);
    }

    #[test]
    fn damaged_examples_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..7, any::<prop::sample::Index>()), 1..6),
    ) {
        let all = examples();
        let source = damage.iter().fold(all[which.index(all.len())].clone(), |source, (at, how, other)| {
            damaged(&source, at, *how, other)
        });
        let outcome = compile(&source, &Options::default());
        let _ = render(&outcome.findings, "x", &source);
        prop_assert!(outcome.compiled.is_some() || outcome.findings.iter().any(|f| f.is_error()), "{}", source);
        let pattern = parse_pattern(&source, &Limits::default(), None);
        let _ = render(&pattern.findings, "x", &source);
        if let Some(compiled) = outcome.compiled {
            if let Err(error) = workflow::Compiled::new(compiled.plan.clone()) {
                prop_assert!(false, "the plan of an accepted definition does not run: {error}\n{source}");
            }
            let again = compile(&compiled.canonical, &Options::default());
            prop_assert_eq!(again.compiled.map(|c| c.canonical), Some(compiled.canonical), "{}", source);
        }
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(source in any::<String>()) {
        let outcome = compile(&source, &Options::default());
        let _ = render(&outcome.findings, "x", &source);
        let _ = format_definition(&source, None);
        let json = compile(&source, &Options { format: Some(Format::Json), ..Options::default() });
        prop_assert!(json.compiled.is_none() || json.error_code().is_none());
    }

    #[test]
    fn text_made_of_pieces_of_the_language_is_read_or_refused(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "name: w\n", "tasks:\n", "  - id: a\n", "  - id: b\n", "    depends_on: [a]\n", "    when: ", "input.x", " > 1\n",
            "    input: {x: '${ tasks.a.output }'}\n", "    timeout: 5\n", "stages:\n", "steps:\n", "graph:\n", "  nodes: [a, b]\n",
            "  edges: [[a, b]]\n", "chain:\n", "  steps: [a]\n", "\n", "# c\n", "&x ", "*x", "[", "]", "{", "}", "? ", ": ", "- ",
            "|\n", "  text\n", "'", "\"", "\t", "é", "<<: *x\n", "!!str ", "---\n", "agents: {r: {count: 2}}\n", "    agent: r\n",
            "    parallel: true\n", "type: sequential\n", "    output_schema: {type: object}\n", "1e999", "0x", "-", ".inf",
        ]), 0..25),
    ) {
        let source = pieces.concat();
        let outcome = compile(&source, &Options::default());
        let _ = render(&outcome.findings, "x", &source);
        if let Ok(formatted) = format_definition(&source, None) {
            let again = compile(&formatted, &Options::default());
            prop_assert_eq!(outcome.compiled.map(|c| c.content_hash), again.compiled.map(|c| c.content_hash), "{}", formatted);
            prop_assert_eq!(&format_definition(&formatted, None).unwrap(), &formatted, "formatting twice changes nothing");
        }
    }
}
