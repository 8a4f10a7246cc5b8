//! Names that nobody here made up: every one owned by a pod, called from the others, answers compared with a naive model.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use dmsc_wire::NameBuf;
use serde::Serialize;

use crate::lab::{Lab, Options};
use crate::model::{Model, Pieces, pieces};
use crate::plan::Plan;
use crate::process::Share;
use crate::routes::{Changes, NamesOf};
use crate::wait;
use crate::wire::decide::SplitMix;

/// Calls to names that nobody owns.
const SIBLINGS: usize = 2_000;
/// Calls per second of all callers together.
const RATE: usize = 2_000;
/// Pods that own names.
const PODS: usize = 4;

/// What to run.
#[derive(Debug, Clone)]
pub struct NamesOptions {
    /// The lab.
    pub lab: PathBuf,
    /// One name per line.
    pub file: PathBuf,
    /// Calls to names that somebody owns.
    pub calls: usize,
    /// Of owners, callers and choices.
    pub seed: u64,
    /// How the lab is brought up.
    pub up: Options,
}

/// What came out.
#[derive(Debug, Default, Serialize)]
pub struct NamesResult {
    /// Different names that were owned.
    pub names: usize,
    /// Lines that no name can represent (too long, too many pieces, reserved).
    pub unrepresentable: usize,
    /// Calls made, siblings included.
    pub calls: usize,
    /// Calls to names that nobody owns.
    pub siblings: usize,
    /// No answer within the time-out.
    pub lost: usize,
    /// Answered by a pod that does not own the name.
    pub wrong: usize,
    /// Answered although nobody owns the name, or another error than the expected one.
    pub unexpected: usize,
    /// From the first announcement until all routers had acknowledged every name, s.
    pub known_seconds: f64,
    /// Of the seed, so that the run can be repeated.
    pub seed: u64,
    /// Up to ten of the calls that went wrong.
    pub examples: Vec<String>,
}

/// All names are known everywhere within this, s.
const KNOWN_SECONDS: f64 = 5.0;

impl NamesResult {
    /// Whether everything was as the model says.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.lost == 0
            && self.wrong == 0
            && self.unexpected == 0
            && self.known_seconds <= KNOWN_SECONDS
    }

    /// The line for people and acceptance.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "names={} known_everywhere_s={:.2} calls={} lost={} wrong={} unexpected={}",
            self.names, self.known_seconds, self.calls, self.lost, self.wrong, self.unexpected
        )
    }
}

/// Names of a file, each once, with those that cannot be represented.
#[derive(Debug, Default)]
struct Names {
    all: Vec<(Pieces, NameBuf)>,
    unrepresentable: Vec<String>,
}

fn read(path: &Path) -> anyhow::Result<Names> {
    let bytes = std::fs::read(path).with_context(|| {
        format!(
            "cannot read the names file {}: give another with --file",
            path.display()
        )
    })?;
    let mut names = Names::default();
    let mut seen = HashSet::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let parts = pieces(line.trim_ascii());
        if parts.is_empty() || !seen.insert(parts.clone()) {
            continue;
        }
        match NameBuf::from_components(&parts) {
            Ok(name) if !name.as_name().is_reserved() => names.all.push((parts, name)),
            Ok(_) => names.unrepresentable.push(format!(
                "{}:{}: starts with dmsc, which is reserved for routers",
                path.display(),
                number + 1
            )),
            Err(error) => {
                names
                    .unrepresentable
                    .push(format!("{}:{}: {error}", path.display(), number + 1))
            }
        }
    }
    if names.all.len() < PODS {
        bail!(
            "{} has {} usable names; at least {PODS} are needed, one per line, pieces separated by '.' or '/'",
            path.display(),
            names.all.len()
        );
    }
    Ok(names)
}

/// One call and what should become of it.
#[derive(Debug)]
struct Call {
    name: NameBuf,
    caller: usize,
    owner: Option<usize>,
}

/// Who owns what, and all calls, from a seed.
fn draw(names: &Names, calls: usize, seed: u64) -> (Vec<usize>, Vec<Call>) {
    let mut random = SplitMix::new(seed);
    let owners: Vec<usize> = names.all.iter().map(|_| random.below(PODS)).collect();
    let mut model = Model::default();
    for ((parts, _), owner) in names.all.iter().zip(&owners) {
        model.insert(parts.clone(), *owner);
    }
    let mut all = Vec::new();
    while all.len() < calls {
        let (mut parts, mut name) = names.all[random.below(names.all.len())].clone();
        if all.len() % 2 == 1 {
            let more = format!("m{}", random.below(1_000_000)).into_bytes();
            match name.child(&more) {
                Ok(longer) => name = longer,
                // As long as a name can be; another one is drawn.
                Err(_) => continue,
            }
            parts.push(more);
        }
        let owner = model.owner(&parts);
        let caller = match owner {
            Some(owner) => (owner + 1 + random.below(PODS - 1)) % PODS,
            None => random.below(PODS),
        };
        all.push(Call {
            name,
            caller,
            owner,
        });
    }
    // In a file of few names, or of names below others, there may be no sibling that nobody owns: attempts end.
    let (mut siblings, mut attempts) = (0, 0);
    while siblings < SIBLINGS && attempts < SIBLINGS * 20 {
        attempts += 1;
        let (mut parts, _) = names.all[random.below(names.all.len())].clone();
        if let Some(last) = parts.last_mut() {
            // Longer than the sibling by some bytes: tells matching by bytes from matching by components.
            last.extend_from_slice(format!("{}", random.below(1_000)).as_bytes());
        }
        let owner = model.owner(&parts);
        if let (None, Ok(name)) = (owner, NameBuf::from_components(&parts)) {
            let place = random.below(all.len() + 1);
            let caller = random.below(PODS);
            all.push(Call {
                name,
                caller,
                owner,
            });
            let last = all.len() - 1;
            all.swap(place, last);
            siblings += 1;
        }
    }
    (owners, all)
}

fn owner_pods(plan: &Plan) -> anyhow::Result<Vec<usize>> {
    let mut pods: Vec<usize> = Vec::new();
    for (index, pod) in plan.pods.iter().enumerate() {
        if pods.iter().all(|p| plan.pods[*p].gateway != pod.gateway) {
            pods.push(index);
        }
    }
    if pods.len() < PODS {
        bail!(
            "lab {} has pods behind {} gateways; names are spread over {PODS}",
            plan.name,
            pods.len()
        );
    }
    pods.truncate(PODS);
    Ok(pods)
}

fn identity(plan: &Plan, pod: usize) -> String {
    format!("{}/names", plan.pods[pod].name)
}

/// Brings up the lab with the names of a file instead of its services, makes the calls, and compares.
///
/// # Errors
/// When the file cannot be used, or the lab does not come up. Calls that went wrong are no error: they are counted.
pub fn run(options: &NamesOptions) -> anyhow::Result<NamesResult> {
    let names = read(&options.file)?;
    for example in names.unrepresentable.iter().take(3) {
        eprintln!("not representable: {example}");
    }
    let plan = Plan::new(&crate::file::LabFile::read(&options.lab)?)?;
    let pods = owner_pods(&plan)?;
    let (owners, calls) = draw(&names, options.calls, options.seed);
    // Beside the lab's state: that folder does not exist before the lab does.
    let dir = std::env::temp_dir().join(format!("dmsc-names-{}", std::process::id()));
    let _remove = RemoveOnDrop(dir.clone());
    std::fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for (place, pod) in pods.iter().enumerate() {
        let mut text = String::new();
        for ((_, name), owner) in names.all.iter().zip(&owners) {
            if *owner == place {
                writeln!(text, "{name}")?;
            }
        }
        let file = dir.join(format!("{}.names", plan.pods[*pod].name));
        std::fs::write(&file, text)?;
        files.push(NamesOf {
            pod: *pod,
            identity: identity(&plan, *pod),
            file,
        });
    }
    let up = Options {
        changes: Changes {
            files: Some(files.clone()),
            ..Changes::default()
        },
        ..options.up.clone()
    };
    let mut lab = Lab::up(&options.lab, &up)?;
    let mut result = NamesResult {
        names: names.all.len(),
        unrepresentable: names.unrepresentable.len(),
        calls: calls.len(),
        siblings: calls.iter().filter(|c| c.owner.is_none()).count(),
        seed: options.seed,
        ..NamesResult::default()
    };
    if let Err(error) = call(&mut lab, &files, &pods, &calls, &dir, &mut result) {
        return Err(lab.explain(error));
    }
    Ok(result)
}

/// Starts all servers at once. Returns how long it took from then until every router, and its dataplane, had every name, s.
fn announce(lab: &mut Lab, files: &[NamesOf], names: u64) -> anyhow::Result<f64> {
    let mut operators = (0..lab.plan.nodes.len())
        .map(|node| lab.operator(node))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let began_ns = wait::monotonic_ns();
    for of in files {
        let file = of.file.display().to_string();
        lab.launch_server(of.pod, &of.identity, &["--names-file", &file])?;
    }
    wait::until(
        "all routers to have all names",
        Duration::from_secs(60),
        || {
            for (node, operator) in lab.plan.nodes.iter().zip(&mut operators) {
                let count = operator.prefix_count()?;
                let about = operator.about()?;
                if count < names || about.programmed_version != about.routes_version {
                    bail!(
                        "{} has {count} of {names}, routes {} of which {} are in the dataplane",
                        node.name,
                        about.routes_version,
                        about.programmed_version
                    );
                }
            }
            Ok(Some(()))
        },
    )?;
    let seconds = (wait::monotonic_ns() - began_ns) as f64 / 1e9;
    for of in files {
        lab.wait_for_server(&of.identity, Duration::from_secs(10))?;
    }
    for (index, node) in lab.plan.nodes.iter().enumerate() {
        let programmed = lab.agent(index)?.dump()?.prefix_count;
        if programmed != names {
            bail!(
                "the dataplane of {} has {programmed} prefixes, expected {names}",
                node.name
            );
        }
    }
    Ok(seconds)
}

fn call(
    lab: &mut Lab,
    files: &[NamesOf],
    pods: &[usize],
    calls: &[Call],
    dir: &Path,
    result: &mut NamesResult,
) -> anyhow::Result<()> {
    result.known_seconds = announce(lab, files, result.names as u64)?;
    eprintln!(
        "names: {} announced by {} pods, known and acknowledged at all {} routers after {:.2} s",
        result.names,
        files.len(),
        lab.plan.nodes.len(),
        result.known_seconds
    );
    let mut callers = Vec::new();
    for (place, pod) in pods.iter().enumerate() {
        let mut text = String::new();
        let own: Vec<&Call> = calls.iter().filter(|c| c.caller == place).collect();
        for call in &own {
            writeln!(text, "{}", call.name)?;
        }
        let name = &lab.plan.pods[*pod].name;
        let (input, output) = (
            dir.join(format!("{name}.calls")),
            dir.join(format!("{name}.out")),
        );
        std::fs::write(&input, text)?;
        let command = lab.pod_command(
            *pod,
            &format!("{name}/caller"),
            &[
                "--json",
                "calls",
                &input.display().to_string(),
                "--rate",
                &(RATE / PODS).to_string(),
                "--out",
                &output.display().to_string(),
            ],
        )?;
        callers.push((
            lab.start_in_pod(*pod, "calls", command, Share::Plain)?,
            own,
            output,
        ));
    }
    let limit = Duration::from_secs(30 + (calls.len() / (RATE / PODS)) as u64);
    for (mut process, own, output) in callers {
        process.finish(limit)?;
        let text = std::fs::read_to_string(&output)
            .with_context(|| format!("no results in {}", output.display()))?;
        compare(&lab.plan, pods, &own, &text, result)?;
    }
    Ok(())
}

/// Compares the lines `name TAB outcome TAB instance …` with what the model says.
fn compare(
    plan: &Plan,
    pods: &[usize],
    calls: &[&Call],
    text: &str,
    result: &mut NamesResult,
) -> anyhow::Result<()> {
    let mut lines: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some(outcome)) = (fields.next(), fields.next()) else {
            bail!("a line of results is not understood: {line:?}");
        };
        lines
            .entry(name)
            .or_default()
            .push((outcome, fields.next().unwrap_or("")));
    }
    for call in calls {
        let name = call.name.to_string();
        let answer = lines.get_mut(name.as_str()).and_then(Vec::pop);
        let expected = call.owner.map(|owner| identity(plan, pods[owner]));
        let what = match (answer, &expected) {
            (None | Some(("lost", _)), _) => {
                result.lost += 1;
                "lost"
            }
            (Some(("ok", instance)), Some(owner)) if instance == owner => continue,
            (Some(("ok", _)), Some(_)) => {
                result.wrong += 1;
                "wrong"
            }
            (Some(("error:no-route", _)), None) => continue,
            _ => {
                result.unexpected += 1;
                "unexpected"
            }
        };
        if result.examples.len() < 10 {
            result.examples.push(format!(
                "{what}: {name} from {}: expected {}, got {}",
                plan.pods[pods[call.caller]].name,
                expected.as_deref().unwrap_or("error:no-route"),
                answer.map_or("nothing".into(), |(outcome, instance)| format!(
                    "{outcome} {instance}"
                ))
            ));
        }
    }
    Ok(())
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::figure2;

    fn names() -> Names {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.txt");
        let mut text: String = (0..100)
            .map(|n| format!("/p.q{}.r/m{n}\n", n % 7))
            .collect();
        text.push_str("/p.q0.r/m0\n\n//\n/dmsc/1\n/");
        text.push_str(&"x".repeat(256));
        std::fs::write(&path, text).unwrap();
        read(&path).unwrap()
    }

    #[test]
    fn a_file_is_read_once_each_and_what_no_name_can_be_is_told() {
        let names = names();
        assert_eq!(names.all.len(), 100);
        assert_eq!(names.unrepresentable.len(), 2);
        assert!(names.unrepresentable[1].contains(":105: "));
    }

    #[test]
    fn draws_are_as_the_issue_says_and_repeatable() {
        let names = names();
        let (owners, calls) = draw(&names, 1_000, 5);
        assert_eq!(calls.len(), 1_000 + SIBLINGS);
        let siblings = calls.iter().filter(|c| c.owner.is_none()).count();
        assert_eq!(siblings, SIBLINGS);
        let longer = calls
            .iter()
            .filter(|c| c.name.as_name().component_count() == 5)
            .count();
        assert_eq!(longer, 500);
        assert!(calls.iter().all(|c| c.owner != Some(c.caller)));
        assert!((0..PODS).all(|pod| owners.contains(&pod)));
        let again = draw(&names, 1_000, 5).1;
        assert!(calls.iter().zip(&again).all(|(a, b)| a.name == b.name));
    }

    #[test]
    fn answers_are_judged() {
        let plan = figure2();
        let pods = owner_pods(&plan).unwrap();
        assert_eq!(pods, [0, 2, 3, 4]);
        let call = |text: &str, owner| Call {
            name: NameBuf::parse(text).unwrap(),
            caller: 0,
            owner,
        };
        let calls = [
            call("/a", Some(1)),
            call("/b", Some(1)),
            call("/c", None),
            call("/d", None),
            call("/e", Some(2)),
            call("/f", Some(2)),
        ];
        let text = "/a\tok\tpod2/names\t2\t1\n/b\tok\tpod4/names\t4\t1\n/c\terror:no-route\n/d\tok\tpod2/names\t2\t1\n/e\tlost\n";
        let mut result = NamesResult::default();
        compare(
            &plan,
            &pods,
            &calls.iter().collect::<Vec<_>>(),
            text,
            &mut result,
        )
        .unwrap();
        assert_eq!((result.lost, result.wrong, result.unexpected), (2, 1, 1));
        assert_eq!(result.examples.len(), 4);
    }
}
