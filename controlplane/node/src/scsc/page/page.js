"use strict";
// Names and reasons come from the network: all text goes through textContent, never into markup.
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const drawn = {};

function make(space, tag, attributes, children) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children || []) element.append(child);
  return element;
}
const html = (tag, attributes, ...children) => make(null, tag, attributes, children);
const svg = (tag, attributes, ...children) => make(SVG, tag, attributes, children);

const known = (value, text) => (value === null || value === undefined ? "–" : text(value));
const ms = (us) => known(us, (us) => (us / 1000).toFixed(us < 10000 ? 2 : 1) + " ms");
const percent = (permille) => known(permille, (permille) => (permille / 10).toFixed(1) + " %");
const loss = (ppm) => known(ppm, (ppm) => (ppm / 10000).toFixed(2) + " %");
const rate = (kbps) => known(kbps, (kbps) => (kbps / 1000).toFixed(1) + " Mbit/s");
const span = (time) => {
  const s = Math.floor(time / 1000);
  return s < 120 ? s + " s" : s < 7200 ? Math.floor(s / 60) + " min" : Math.floor(s / 3600) + " h";
};
const clock = (at) => new Date(at).toISOString().slice(0, 19).replace("T", " ");
const rest = (list, what) => (list.left_out > 0 ? list.left_out + " more " + what + " are left out" : "");

// Whatever says the same as before stays as it is: nothing flickers, and what is selected stays selected.
function part(name, value, draw) {
  const text = JSON.stringify(value);
  if (drawn[name] === text) return;
  drawn[name] = text;
  draw(value);
}

function network({ nodes, pairs }) {
  const at = new Map(nodes.shown.map((node) => [node.id, node]));
  const edges = [];
  for (const pair of pairs.shown) {
    const from = at.get(pair.from);
    const to = at.get(pair.to);
    if (!from || !to || from === to || pair.topology !== "metric") continue;
    const level = "l" + Math.max(pair.delay_level, pair.load_level);
    const dx = to.x - from.x;
    const dy = to.y - from.y;
    const length = Math.hypot(dx, dy) || 1;
    // Each direction bends to its own side, and ends at the rim of the node.
    const bend = Math.min(60, length / 6);
    const mx = (from.x + to.x) / 2 - (dy / length) * bend;
    const my = (from.y + to.y) / 2 + (dx / length) * bend;
    const back = Math.hypot(to.x - mx, to.y - my) || 1;
    const ux = (to.x - mx) / back;
    const uy = (to.y - my) / back;
    const ex = to.x - ux * 62;
    const ey = to.y - uy * 62;
    const what = "from " + pair.from + " to " + pair.to + ": delay " + ms(pair.delay_p50_us) + ", p99 " + ms(pair.delay_p99_us) +
      ", lost " + loss(pair.loss_ppm) + ", load " + percent(pair.load_permille) + ", " + pair.health;
    const title = svg("title", {}, what);
    const line = svg("path", { class: "edge " + level, d: "M " + from.x + " " + from.y + " Q " + mx + " " + my + " " + ex + " " + ey }, title);
    line.dataset.pair = pair.from + "-" + pair.to;
    const points = [[ex + ux * 22, ey + uy * 22], [ex - uy * 12, ey + ux * 12], [ex + uy * 12, ey - ux * 12]];
    edges.push(line, svg("polygon", { class: "head " + level, points: points.map((p) => p.join(",")).join(" ") }));
    if (pairs.shown.length <= 24) {
      const text = { class: "edge-text", x: (from.x + 2 * mx + to.x) / 4, y: (from.y + 2 * my + to.y) / 4 };
      edges.push(svg("text", text, ms(pair.delay_p50_us)));
    }
  }
  byId("edges").replaceChildren(...edges);
  byId("nodes").replaceChildren(...nodes.shown.map((node) => {
    const what = "node " + node.id + ": " + (node.reports ? "connected, tells what it measures" : "not connected") +
      ", load " + percent(node.load_permille) + ", " + node.health;
    const classes = "node l" + node.load_level + (node.reports ? " reports" : "");
    const place = { class: classes, transform: "translate(" + node.x + " " + node.y + ")" };
    const group = svg("g", place, svg("title", {}, what), svg("circle", { r: 40 }), svg("text", { class: "id" }, String(node.id)));
    if (node.load_permille) group.append(svg("text", { class: "under", y: 62 }, percent(node.load_permille)));
    group.dataset.node = node.id;
    return group;
  }));
  byId("net-desc").textContent = nodes.shown.length + " nodes, " + pairs.shown.length + " pairs; the table of pairs has the numbers.";
  const empty = nodes.shown.length === 0 ? "No gateway is connected, and nothing was measured yet." : "";
  byId("net-note").textContent = [empty, rest(nodes, "nodes"), rest(pairs, "pairs, better ones,")].filter(Boolean).join("; ");
}

function shares(list) {
  return list.map((share) => (share.weight / 10).toFixed(1) + " % to " + share.node + " by " + share.topology).join(", ") || "none";
}

function policies(list) {
  const all = list.shown.map((policy) => {
    const title = html("h3", {}, policy.prefix + " at gateway " + policy.gateway);
    const left = html("p", { class: "dim" }, "number " + policy.id + ", domain " + policy.domain + ", ");
    // Alone in changing every second: it is written below.
    left.append(html("span", { "data-left": policy.id }));
    const box = html("article", { "data-policy": policy.id }, title, left);
    if (policy.by) box.append(html("p", { class: "hand" }, "by hand"));
    box.append(html("p", {}, shares(policy.shares)), html("p", { class: "reason" }, policy.reason));
    for (const one of policy.outcomes) {
      const text = one.refused ? "refused by node " + one.node + ": " + one.refused : "in force at node " + one.node + ", generation " + one.generation;
      box.append(html("p", { class: one.refused ? "refused" : "dim" }, text));
    }
    if (policy.outcomes.length === 0) box.append(html("p", { class: "dim" }, "not acknowledged yet"));
    return box;
  });
  if (all.length === 0) all.push(html("p", { class: "dim" }, "None: plain routes hold everywhere."));
  const more = rest(list, "policies");
  if (more) all.push(html("p", { class: "note" }, more));
  byId("policies").replaceChildren(...all);
}

function bar(kind, permille, label) {
  const inner = html("div");
  inner.style.width = Math.min(100, permille / 10) + "%";
  return html("div", { class: "bar " + kind, role: "img", "aria-label": label, title: label }, inner);
}

function groups(list) {
  const all = list.shown.map((group) => {
    const title = html("h3", {}, group.prefix + " at gateway " + group.gateway);
    const about = group.policy ? "by policy" : "by plain routes";
    const bars = html("div", { class: "bars" });
    for (const member of group.members) {
      const plain = "to " + member.node + " by plain routes " + percent(member.plain_permille);
      const now = "to " + member.node + " now " + percent(member.now_permille);
      const both = html("div", {}, bar("plain", member.plain_permille, plain), bar("now", member.now_permille, now));
      const numbers = percent(member.plain_permille) + " → " + percent(member.now_permille);
      bars.append(html("span", {}, "to " + member.node), both, html("span", {}, numbers));
    }
    return html("article", {}, title, html("p", { class: "dim" }, "domain " + group.domain + ", " + about + "; plain above, now below"), bars);
  });
  if (all.length === 0) all.push(html("p", { class: "dim" }, "No gateway has told of calls yet."));
  const more = rest(list, "groups at gateways");
  if (more) all.push(html("p", { class: "note" }, more));
  byId("groups").replaceChildren(...all);
}

function decisions(list) {
  const all = list.shown.map((one) => html("li", {}, html("time", { datetime: new Date(one.at_ms).toISOString() }, clock(one.at_ms)), one.text));
  if (all.length === 0) all.push(html("li", { class: "dim" }, "Nothing was decided yet."));
  byId("decisions").replaceChildren(...all);
  byId("decisions-note").textContent = "Times are UTC, the latest first. " + rest(list, "decisions");
}

function pairs(list) {
  if (list.shown.length === 0) {
    byId("pairs").replaceChildren(html("p", { class: "dim" }, "Nothing was measured yet."));
    return;
  }
  const head = ["from → to", "by", "delay p50", "p99", "jitter p99", "lost", "available", "narrowest", "load", "health", "probes", "age"];
  const rows = list.shown.map((pair) => {
    const cells = [pair.from + " → " + pair.to, pair.topology, ms(pair.delay_p50_us), ms(pair.delay_p99_us), ms(pair.jitter_p99_us), loss(pair.loss_ppm),
      rate(pair.available_kbps), known(pair.narrowest, (text) => text), percent(pair.load_permille), pair.health, pair.samples, span(pair.age_ms)];
    const row = cells.map((cell) => html("td", {}, String(cell)));
    row[2].className = "l" + pair.delay_level;
    row[8].className = "l" + pair.load_level;
    return html("tr", {}, ...row);
  });
  const more = rest(list, "pairs, better ones,");
  const caption = html("caption", {}, "Of the last report of each pair. " + more);
  byId("pairs").replaceChildren(html("table", {}, caption,
    html("thead", {}, html("tr", {}, ...head.map((title) => html("th", { scope: "col" }, title)))), html("tbody", {}, ...rows)));
}

function draw(state) {
  const center = state.center;
  document.title = "DMSC scheduling center " + center.name;
  byId("name").textContent = center.name;
  byId("about").textContent = "replica " + center.replica + " of area " + center.area + ", epoch " + center.epoch + ", " + center.software + ", up " +
    span(center.uptime_ms) + "; connected " + center.connected + ", pairs " + center.pairs + ", service groups " + center.groups +
    ", policies in force " + center.policies + ", of them by hand " + center.by_hand;
  part("network", { nodes: state.nodes, pairs: { ...state.pairs, shown: state.pairs.shown.map((pair) => ({ ...pair, age_ms: 0 })) } }, network);
  const still = state.policies.shown.map((policy) => ({ ...policy, ttl_left_ms: 0 }));
  part("policies", { ...state.policies, shown: still }, policies);
  for (const policy of state.policies.shown) {
    const left = document.querySelector('[data-left="' + CSS.escape(policy.id) + '"]');
    if (left) left.textContent = span(policy.ttl_left_ms) + " left";
  }
  part("groups", state.groups, groups);
  part("decisions", state.decisions, decisions);
  part("pairs", state.pairs, pairs);
}

let since = null;
function tell(text, lost) {
  const line = byId("status");
  if (line.textContent !== text) line.textContent = text;
  line.className = lost ? "lost" : "";
}

async function look() {
  try {
    const answer = await fetch("/state.json", { cache: "no-store" });
    if (!answer.ok) throw new Error("status " + answer.status);
    const state = await answer.json();
    if (state.version !== 1) throw new Error("this page is older than the center: load it again");
    draw(state);
    since = null;
    tell("live", false);
  } catch (error) {
    since = since || new Date();
    tell("The center has not answered since " + clock(since.getTime()) + " UTC; what stands here is older. (" + error.message + ")", true);
  }
  setTimeout(look, 1000);
}
look();
