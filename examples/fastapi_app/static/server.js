// The server's side: its list of this browser's uploads, and what the page asks of it.

function chosenList() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const fresh = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
  try {
    const list = localStorage.getItem("list") ?? fresh;
    localStorage.setItem("list", list);
    return list;
  } catch {
    return fresh;  // storage is blocked: the list is lost with the page
  }
}

// By this ID, which nobody can guess, the server finds the list again after a reload.
const list = `lists/${chosenList()}`;

const json = (method, value) => ({method, headers: {"Content-Type": "application/json"}, body: JSON.stringify(value)});

/** Announce files; return their keys. A file that is in the list already keeps its key. */
export async function announce(found) {
  const keys = [];
  for (let start = 0; start < found.length; start += 500) {
    const some = found.slice(start, start + 500).map(({file, folder}) =>
      ({name: file.name.toWellFormed(), folder: folder.toWellFormed(), size: file.size, modified: file.lastModified}));
    const answer = await fetch(list, json("PUT", some));
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? answer.statusText);
    keys.push(...await answer.json());
  }
  return keys;
}

/** Send bytes; return the status and the row, which is null if the answer is not this server's own. */
export async function put(key, body, signal) {
  const answer = await fetch(`${list}/${key}`, {method: "PUT", body, signal});
  const said = await answer.text();  // fails if it is aborted, which is no answer
  let row = null;
  try {
    row = JSON.parse(said);
  } catch { /* a proxy's own page */ }
  return {status: answer.status, text: answer.statusText, row: row?.key ? row : null};
}

/** Pause an upload, cancel it or let it go on; return its row. */
export async function change(key, state) {
  const answer = await fetch(`${list}/${key}`, json("PATCH", {state}));
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

export const remove = key => fetch(`${list}/${key}`, {method: "DELETE"});

const SILENCE = 45_000;  // milliseconds; the server sends something every 15 s

/** Listen to the list: `all` and `some` get rows, `online` gets whether the server answers. */
export function listen({all, some, online}) {
  let watchdog;
  const source = new EventSource(`${list}/events`);
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(again, SILENCE);
  };
  const again = () => {
    clearTimeout(watchdog);
    source.close();
    setTimeout(() => listen({all, some, online}), 1000);
  };
  source.addEventListener("all", message => { alive(); online(true); all(JSON.parse(message.data)); });
  source.addEventListener("some", message => { alive(); some(JSON.parse(message.data)); });
  source.onerror = () => {
    online(false);
    if (source.readyState === EventSource.CLOSED) again();  // it gives up after an answer that is no stream
  };
  alive();
}
