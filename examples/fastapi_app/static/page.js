// The page: a row for each upload of the server's list, and the queue that sends the files this page has.

import {chosen, dropped} from "./drop.js";
import {announce, change, listen, put, remove} from "./server.js";

const AT_ONCE = 3;  // requests with a body: a browser opens six connections to a server, and the events need one

const files = new Map();     // by key: the files that this page has; a reload loses them
const rows = new Map();      // by key: what the server says
const elements = new Map();  // by key: the row's element
const sending = new Map();   // by key: what stops the request
const problems = new Map();  // by key: why this page cannot send it

const $ = id => document.getElementById(id);
let isOnline = true, isHeld = false, patience = 1000;

// -- getting files ----------------------------------------------------------------------------------------------------

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, event => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", event => add(dropped(event.dataTransfer)));
for (const input of document.querySelectorAll(".chooser")) {
  input.addEventListener("change", () => {
    add(chosen(input));
    input.value = "";
  });
}

async function add(getting) {
  const {found, leftOut, unreadable} = await getting, notices = [];
  const empty = found.filter(({file}) => !file.size).map(({file}) => file.name);
  const left = found.filter(({file}) => file.size).sort(inOrder);
  if (empty.length) notices.push(`Left out, because they are empty: ${names(empty)}.`);
  if (unreadable.length) notices.push(`Not readable: ${names(unreadable)}.`);
  if (leftOut) notices.push(`Hidden and system files that were left out: ${leftOut}.`);
  let keys = [];
  try {
    keys = await announce(left);
  } catch (error) {
    notices.push(`The server did not take up the files (${error.message}). Drop them again.`);
  }
  for (const [at, key] of keys.entries()) {
    const isElsewhere = rows.get(key)?.state === "receiving" && isStranded(key);
    files.set(key, left[at].file);
    problems.delete(key);
    if (isElsewhere) await wish(key, "waiting");  // this page goes on with what is missing
    else if (elements.has(key)) render(key);
  }
  const there = keys.filter(key => rows.get(key)?.state === "done").length;
  if (there) notices.push(`At Frame.io already: ${there} of ${keys.length}.`);
  $("notice").hidden = !notices.length;
  $("notice").textContent = notices.join(" ");
  say(`Files added: ${keys.length}`);
  pump();
}

// A browser lists a folder in any order; `take-10` comes after `take-9`.
const collator = new Intl.Collator(undefined, {numeric: true});
const inOrder = (one, other) => collator.compare(one.folder, other.folder) || collator.compare(one.file.name, other.file.name);

const names = all => all.slice(0, 5).join(", ") + (all.length > 5 ? ` and ${all.length - 5} more` : "");

// -- sending ----------------------------------------------------------------------------------------------------------

function pump() {
  if (!isOnline || isHeld) return;
  for (const [key, row] of rows) {
    if (sending.size >= AT_ONCE) return;
    if (row.state === "waiting" && files.has(key) && !sending.has(key) && !problems.has(key)) send(key, row);
  }
}

async function send(key, row) {
  const file = files.get(key), stop = new AbortController();
  let isPaced = false;
  sending.set(key, stop);
  try {
    // A file that was written to since it was chosen cannot be read, which `fetch` would not tell from a server that has gone.
    if (!await isReadable(file)) {
      problems.set(key, "it has changed since it was chosen, or cannot be read: choose it again");
      return;
    }
    const body = new Blob(row.missing.map(([offset, size]) => file.slice(offset, offset + size)));
    const {status, text, row: now} = await put(key, body, stop.signal);
    if (now) show(now);
    else problems.set(key, `the server refuses it: ${status} ${text}`);
    isPaced = now?.state === "waiting";
    patience = 1000;
  } catch {
    isPaced = !stop.signal.aborted;  // the connection broke: the row says what is missing now
  } finally {
    if (isPaced) await new Promise(resolve => setTimeout(resolve, patience = Math.min(patience * 2, 30_000)));
    sending.delete(key);
    if (elements.has(key)) render(key);
    pump();
  }
}

const isReadable = file => file.slice(0, 1).arrayBuffer().then(() => true, () => false);

// -- what the server says ---------------------------------------------------------------------------------------------

listen({
  all({rows: found}) {
    const there = new Set(found.map(row => row.key));
    for (const key of [...rows.keys()]) if (!there.has(key)) drop(key);
    update(found, []);
  },
  some({rows: found, gone}) { update(found, gone); },
  online(is) {
    isOnline = is;
    $("offline").hidden = is;
    if (is) pump();
  },
});

function update(found, gone) {
  for (const row of found) show(row);
  for (const key of gone) drop(key);
  summarize();
  pump();
}

function show(row) {
  const before = rows.get(row.key)?.state;
  rows.set(row.key, row);
  if (row.state === "done") files.delete(row.key);
  if (row.state !== "waiting") problems.delete(row.key);
  // A pause ends the request, so that another file gets its connection.
  if (["paused", "cancelled", "failed"].includes(row.state)) sending.get(row.key)?.abort();
  if (before && before !== row.state && row.state === "failed") say(`${row.name} failed: ${row.error}`);
  render(row.key);
}

function drop(key) {
  const element = elements.get(key);
  sending.get(key)?.abort();
  if (element?.contains(document.activeElement)) focusNear(element);
  element?.remove();
  for (const map of [files, rows, elements, problems]) map.delete(key);
}

function focusNear(element) {
  const near = element.nextElementSibling ?? element.previousElementSibling;
  (near?.querySelector("button:not([hidden])") ?? $("files")).focus();
}

// -- rows -------------------------------------------------------------------------------------------------------------

function make(key) {
  const element = $("row").content.cloneNode(true).firstElementChild;
  element.querySelector(".toggle").addEventListener("click", () => toggle(key));
  element.querySelector(".end").addEventListener("click", () => end(key));
  elements.set(key, element);
  $("list").append(element);
  return element;
}

function render(key) {
  const row = rows.get(key), element = elements.get(key) ?? make(key);
  const part = name => element.querySelector(name);
  const isLost = isStranded(key);
  const full = row.folder ? `${row.folder}/${row.name}` : row.name;
  element.className = isLost ? "lost" : row.state;
  text(part(".name"), full);
  part("progress").value = row.size ? row.sent / row.size : 0;
  part("progress").setAttribute("aria-label", `${full} to Frame.io`);
  part(".bar").style.setProperty("--here", `${row.size ? 100 * row.received / row.size : 0}%`);
  showState(part(".state"), row, isLost);
  text(part(".note"), note(row, isLost));
  label(part(".toggle"), isLost ? "Choose again" : {paused: "Resume", failed: "Retry", cancelled: "Retry", done: ""}[row.state] ?? "Pause", full);
  label(part(".end"), ["done", "failed", "cancelled"].includes(row.state) ? "Remove" : "Cancel", full);
}

/** Whether the upload waits for a file that this page does not have, or cannot send. */
function isStranded(key) {
  const {state} = rows.get(key);
  // While Frame.io is slower than the browser, the server does not notice for a while that a page has gone.
  return state === "receiving" ? !sending.has(key) : state === "waiting" && (!files.has(key) || problems.has(key));
}

function showState(element, row, isLost) {
  if (row.state !== "done") {
    text(element, isLost ? percent(row.sent, row.size) : {
      waiting: row.received ? `waiting, ${percent(row.sent, row.size)}` : "waiting",
      paused: `paused, ${percent(row.sent, row.size)}`,
      failed: "failed",
      cancelled: "cancelled",
    }[row.state] ?? moving(row));
  } else if (!element.querySelector("a")) {
    // The address is the service's word: as a link only what begins with https, and so is no script.
    const link = Object.assign(document.createElement("a"), {href: row.link, target: "_blank", rel: "noreferrer", textContent: "view at Frame.io"});
    link.setAttribute("aria-label", `view at Frame.io: ${row.name}`);
    element.replaceChildren(/^https:\/\//i.test(row.link ?? "") ? link : "at Frame.io");
  }
}

function moving({sent, size, rate, left}) {
  if (sent >= size) return "being checked by Frame.io";
  return [percent(sent, size), rate ? `${bytes(rate)}/s` : "", left === null ? "" : `${duration(left)} left`].filter(Boolean).join(" · ");
}

function note(row, isLost) {
  if (isLost && row.state === "receiving") return "another page sends it, or this one did before it was loaded again: then choose or drop it again";
  if (isLost) return problems.get(row.key) ?? "this page does not have the file: choose or drop it again, and it goes on";
  if (row.error) return row.error;
  if (row.note) return row.note;
  if (row.state === "receiving") return `${percent(row.received, row.size)} of ${bytes(row.size)} is at the server; keep this page open`;
  if (row.state === "sending") return `the server has all of its ${bytes(row.size)}: it needs this page no more`;
  return bytes(row.size);
}

function toggle(key) {
  const {state, folder} = rows.get(key);
  if (elements.get(key).className === "lost") (folder ? $("folder") : $("files")).click();
  else wish(key, ["paused", "failed", "cancelled"].includes(state) ? "waiting" : "paused");
}

async function end(key) {
  const {state} = rows.get(key);
  if (!["done", "failed", "cancelled"].includes(state)) return wish(key, "cancelled");
  await remove(key).catch(() => {});
}

async function wish(key, state) {
  const verb = {waiting: "goes on", paused: "is paused", cancelled: "is cancelled"}[state];
  try {
    show(await change(key, state));
    say(`${rows.get(key).name} ${verb}`);
  } catch {
    say("The server does not answer");
  }
  summarize();
  pump();
}

// -- all of them ------------------------------------------------------------------------------------------------------

const ACTIVE = ["waiting", "receiving", "sending"];

async function each(states, action) {
  isHeld = true;  // or the next file would start while the first is paused
  for (const [key, row] of [...rows]) if (states.includes(row.state)) await action(key).catch(() => {});
  isHeld = false;
  pump();
}

$("pause-all").addEventListener("click", () => each(ACTIVE, key => change(key, "paused").then(show)));
$("resume-all").addEventListener("click", () => each(["paused"], key => change(key, "waiting").then(show)));
$("retry-all").addEventListener("click", () => each(["failed"], key => change(key, "waiting").then(show)));
$("remove-all").addEventListener("click", () => each(["done", "cancelled"], remove));

function summarize() {
  const all = [...rows.values()].filter(row => row.state !== "cancelled");
  const count = (...states) => all.filter(row => states.includes(row.state)).length;
  const sum = name => all.reduce((total, row) => total + row[name], 0);
  const [size, sent, rate] = [sum("size"), sum("sent"), sum("rate")], failed = count("failed");
  $("all").hidden = !rows.size;
  const done = `${count("done")} of ${all.length} files at Frame.io`;
  const pace = rate && sent < size ? `${bytes(rate)}/s · ${duration((size - sent) / rate)} left` : "";
  text($("summary"), [done, `${bytes(sent)} of ${bytes(size)}`, pace, failed ? `${failed} failed` : ""].filter(Boolean).join(" · "));
  $("total").value = size ? sent / size : 0;
  document.title = sent < size ? `${percent(sent, size)} – To Frame.io` : "To Frame.io";
  enable("pause-all", count(...ACTIVE));
  enable("resume-all", count("paused"));
  enable("retry-all", failed);
  enable("remove-all", [...rows.values()].filter(row => ["done", "cancelled"].includes(row.state)).length);
  if (count("done") !== (told ?? count("done"))) say(done);
  told = count("done");
}

// The browser asks before it leaves while it has files that the server lacks.
window.addEventListener("beforeunload", event => {
  if ([...files.keys()].some(key => ["waiting", "receiving"].includes(rows.get(key)?.state))) event.preventDefault();
});

// -- words ------------------------------------------------------------------------------------------------------------

// For screen readers: not every percent, and three hundred files that arrive are one sentence every few seconds.
const SPOKEN = 3000;
let spoken = 0, next, told;
function say(words) {
  clearTimeout(next);
  next = setTimeout(() => { spoken = Date.now(); $("status").textContent = words; }, Math.max(0, spoken + SPOKEN - Date.now()));
}

function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function label(button, words, name) {
  if (button.textContent === words && button.hidden === !words) return;
  const hadFocus = button === document.activeElement;
  button.textContent = words;
  button.setAttribute("aria-label", `${words} ${name}`);
  button.hidden = !words;
  if (button.hidden && hadFocus) button.nextElementSibling?.focus();
}

function enable(id, is) {
  const button = $(id), hadFocus = button === document.activeElement;
  button.disabled = !is;
  if (hadFocus && !is) (document.querySelector("#all button:enabled") ?? $("files")).focus();
}

const percent = (part, whole) => `${whole ? Math.floor(100 * part / whole) : 0} %`.replace(" ", "\u00a0");

function bytes(count) {
  for (const [unit, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= unit) return `${(count / unit).toFixed(count < 100 * unit ? 1 : 0)} ${name}`;
  }
  return `${Math.round(count)} bytes`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
}
