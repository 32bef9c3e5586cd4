// What was dropped or chosen, as files with the paths of their folders.

// What systems make for themselves, in the folders of others. The library leaves out the same, and more.
const LEFT_OUT = /^(\..*|Thumbs\.db|desktop\.ini|Icon\r|__MACOSX|lost\+found|System Volume Information|\$RECYCLE\.BIN|@eaDir)$/i;

const inside = name => LEFT_OUT.test(name);

/** Return `{found, leftOut, unreadable}` of a drop. Called in the event itself: afterwards the browser forgets it. */
export function dropped(transfer) {
  const items = [...transfer.items].filter(item => item.kind === "file");
  return collect(items.map(item => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean));
}

async function collect(entries) {
  const result = {found: [], leftOut: 0, unreadable: []};
  for (const entry of entries) await walk(entry, "", result);
  return result;
}

async function walk(entry, folder, result) {
  if (entry instanceof File) {
    result.found.push({file: entry, folder});
  } else if (folder && inside(entry.name)) {
    result.leftOut += 1;
  } else if (entry.isFile) {
    const file = await new Promise(resolve => entry.file(resolve, () => resolve(null)));
    if (file === null) result.unreadable.push(entry.name);
    else result.found.push({file, folder});
  } else {
    const reader = entry.createReader(), path = folder ? `${folder}/${entry.name}` : entry.name;
    for (;;) {
      // It returns a hundred at a time, and none at the end.
      const some = await new Promise(resolve => reader.readEntries(resolve, () => resolve(null)));
      if (some === null) result.unreadable.push(path);
      if (!some?.length) break;
      for (const one of some) await walk(one, path, result);
    }
  }
}

/** Return the same of an `<input type="file">`. */
export function chosen(input) {
  const result = {found: [], leftOut: 0, unreadable: []};
  for (const file of input.files) {
    const names = file.webkitRelativePath.split("/");
    if (names.slice(1).some(inside)) result.leftOut += 1;
    else result.found.push({file, folder: names.slice(0, -1).join("/")});
  }
  return result;
}
