/** Thumbnails and recordings as object addresses: an <img> cannot send an API key. */

import { getBlob } from "./server";

const AT_ONCE = 6; // requests: the server's queue is for searches too
const KEPT = 400; // addresses; older ones are freed

const addresses = new Map<string, Promise<string>>();
const waiting: (() => void)[] = [];
let running = 0;

/** The object address of a file of the server. It is read once while it is in use. */
export function mediaAddress(path: string): Promise<string> {
  const known = addresses.get(path);
  if (known) {
    addresses.delete(path); // used again: it becomes the newest
    addresses.set(path, known);
    return known;
  }
  const made = inTurn(async () => URL.createObjectURL(await getBlob(path)));
  made.catch(() => addresses.delete(path));
  addresses.set(path, made);
  while (addresses.size > KEPT) forgetOldest();
  return made;
}

function forgetOldest(): void {
  const [path, oldest] = addresses.entries().next().value as [string, Promise<string>];
  addresses.delete(path);
  oldest.then(URL.revokeObjectURL, () => undefined);
}

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}
