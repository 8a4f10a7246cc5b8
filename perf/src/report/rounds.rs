//! What is drawn of rounds: every figure over their number, those first that the result is made of.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::figures::pretty;
use super::load::Measurement;
use super::plot::{Plot, Series};
use super::plots::{Drawn, number};

/// Most plots per file.
const MOST_PLOTS: usize = 16;
/// Most series of a plot: more are not told apart, and their legend hides the points.
const MOST_SERIES: usize = 14;
/// Names within names, those of lists included: `af_packet.latency_us.p99`.
const DEEPEST: usize = 3;
/// Members that say which element of a list, or which kind of round, figures are of, though they are numbers.
const NAMING: [&str; 6] = [
    "workers",
    "rate",
    "packets_per_s",
    "prefixes",
    "frame",
    "size",
];

/// A figure of the rounds.
struct Figure {
    /// Where it is in a round: `loading.gap_us.p99`.
    name: String,
    /// In the order of their first round: what each is of, and its values.
    series: Vec<(String, Vec<f64>)>,
}

/// Every figure of the rounds over their number. Rounds and elements of lists are told apart by what names them, and are the
/// series of one plot.
pub fn of(measurement: &Measurement) -> Drawn {
    let mut figures: Vec<Figure> = Vec::new();
    let lists = Lists::of(&measurement.result);
    for round in &measurement.rounds {
        let Some(object) = round.as_object() else {
            continue;
        };
        let mut leaves = Leaves {
            lists: &lists,
            all: Vec::new(),
        };
        leaves.members("", object, &naming(object), true);
        for leaf in leaves.all {
            add(&mut figures, leaf);
        }
    }
    let order = Order::of(&measurement.result);
    figures.sort_by_key(|figure| order.of_name(&figure.name));
    let mut drawn = Drawn::default();
    for figure in figures {
        if figure.series.len() > MOST_SERIES {
            let lines = figure.series.len();
            drawn
                .left_out
                .push(format!("{} ({lines} lines)", figure.name));
        } else if drawn.plots.len() == MOST_PLOTS {
            drawn.left_out.push(figure.name);
        } else {
            drawn.plots.push(plot(figure));
        }
    }
    drawn
}

fn plot(figure: Figure) -> Plot {
    let series = figure.series.into_iter().map(|(name, values)| Series {
        name,
        points: (1..).map(f64::from).zip(values).collect(),
    });
    Plot {
        title: figure.name.clone(),
        x: "round".into(),
        y: figure.name,
        log_x: false,
        joined: false,
        series: series.collect(),
    }
}

fn add(figures: &mut Vec<Figure>, leaf: Leaf) {
    let index = figures.iter().position(|figure| figure.name == leaf.name);
    let index = index.unwrap_or_else(|| {
        figures.push(Figure {
            name: leaf.name,
            series: Vec::new(),
        });
        figures.len() - 1
    });
    let series = &mut figures[index].series;
    match series.iter_mut().find(|(of, _)| *of == leaf.of) {
        Some((_, values)) => values.push(leaf.value),
        None => series.push((leaf.of, vec![leaf.value])),
    }
}

/// A number in a round.
struct Leaf {
    name: String,
    /// What it is of: the kind of round, elements of lists.
    of: String,
    value: f64,
}

/// All numbers of a round.
struct Leaves<'a> {
    lists: &'a Lists,
    all: Vec<Leaf>,
}

impl Leaves<'_> {
    /// Of an object; of those that are a round or an `element` of a list, what names them and the round's number are no figures.
    fn members(&mut self, name: &str, object: &Map<String, Value>, of: &str, element: bool) {
        for (field, value) in object {
            let names = field == "round" || NAMING.contains(&&**field);
            if element && names && value.is_number() {
                continue;
            }
            let name = match name {
                "" => field.clone(),
                name => format!("{name}.{field}"),
            };
            self.value(&name, value, of);
        }
    }

    fn value(&mut self, name: &str, value: &Value, of: &str) {
        match value {
            Value::Object(object) if depth(name) < DEEPEST => self.members(name, object, of, false),
            Value::Array(elements) => self.elements(name, elements, of),
            value => self.all.extend(number(value).map(|value| Leaf {
                name: name.into(),
                of: of.into(),
                value,
            })),
        }
    }

    fn elements(&mut self, name: &str, elements: &[Value], of: &str) {
        let labels = self.lists.labels(elements);
        for (element, label) in elements.iter().zip(labels) {
            let of = joined(of, &label);
            match element {
                Value::Object(object) if depth(name) < DEEPEST => {
                    self.members(name, object, &of, true);
                }
                Value::Object(_) => {}
                element => self.value(name, element, &of),
            }
        }
    }
}

fn depth(name: &str) -> usize {
    name.split('.').count()
}

fn joined(of: &str, label: &str) -> String {
    match of {
        "" => label.into(),
        of => format!("{of}, {label}"),
    }
}

/// What names a round, or an element of a list: its texts, and numbers that are no figures.
fn naming(object: &Map<String, Value>) -> String {
    let texts = object.values().filter_map(Value::as_str).map(String::from);
    let numbers = NAMING.iter().filter_map(|field| {
        let value = number(object.get(*field)?)?;
        Some(format!("{field} {}", pretty(value)))
    });
    texts.chain(numbers).collect::<Vec<_>>().join(", ")
}

/// Lists of a result that name the elements of lists of bare numbers: `workers`, 1 and 2, in the order of every round's rates.
struct Lists(Vec<(&'static str, Vec<f64>)>);

impl Lists {
    fn of(result: &Value) -> Self {
        let lists = NAMING.iter().filter_map(|field| {
            let numbers = result.get(*field)?.as_array()?;
            Some((*field, numbers.iter().filter_map(number).collect()))
        });
        Self(lists.collect())
    }

    /// What each element is called; by its place where nothing names it, or names several.
    fn labels(&self, elements: &[Value]) -> Vec<String> {
        let are_bare = elements.iter().all(Value::is_number);
        let mut lists = self.0.iter();
        if let Some((field, values)) = lists.find(|list| are_bare && list.1.len() == elements.len())
        {
            let label = |value: &f64| format!("{field} {}", pretty(*value));
            return values.iter().map(label).collect();
        }
        let names: Vec<String> = elements
            .iter()
            .map(|element| element.as_object().map_or_else(String::new, naming))
            .collect();
        let are_names = names.iter().all(|name| !name.is_empty())
            && names.iter().collect::<BTreeSet<_>>().len() == names.len();
        if are_names {
            return names;
        }
        let by_place = names.iter().enumerate();
        by_place
            .map(|(place, name)| match &**name {
                "" => place.to_string(),
                name => format!("{name}, {place}"),
            })
            .collect()
    }
}

/// What is drawn first.
struct Order {
    /// Names of the result's figures and their ends: `visible_ms_p99` and `p99` of `visible_ms.p99`.
    figures: BTreeSet<String>,
}

impl Order {
    fn of(result: &Value) -> Self {
        let mut names = BTreeSet::new();
        collect("", result, &mut names);
        let figures = names.iter().flat_map(|name| ends(name)).map(plain);
        Self {
            figures: figures.collect(),
        }
    }

    /// First what is called as a figure of the result is, however it is nested there; then what ends or begins so; then the rest.
    fn of_name(&self, name: &str) -> usize {
        let is_figure = |name: &str| self.figures.contains(&plain(name));
        if is_figure(name) {
            return 0;
        }
        let begins = name.match_indices('.').map(|(dot, _)| &name[..dot]);
        match ends(name).chain(begins).any(is_figure) {
            true => 1,
            false => 2,
        }
    }
}

/// `loading.gap_us` and `loading_gap_us` are the same.
fn plain(name: &str) -> String {
    name.replace('.', "_")
}

/// All of a name, and what stands behind each of its dots.
fn ends(name: &str) -> impl Iterator<Item = &str> {
    let behind = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    std::iter::once(name).chain(behind)
}

/// Names of all figures of a result; medians stand for their ranges.
fn collect(name: &str, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if object.contains_key("median") => {
            names.insert(name.into());
        }
        Value::Object(object) => {
            for (field, value) in object {
                let name = match name {
                    "" => field.clone(),
                    name => format!("{name}.{field}"),
                };
                collect(&name, value, names);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|e| collect(name, e, names)),
        Value::Number(_) => {
            names.insert(name.into());
        }
        _ => {}
    }
}
