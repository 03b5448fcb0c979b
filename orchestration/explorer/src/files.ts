/** Files of the user as inputs of a query. */

import type { Input } from "./query";

const MOST = 8 << 20; // bytes: as base64 they must fit into the server's limit of a JSON body

/** An input of a dropped or chosen file. Throws an error if it is no picture or recording. */
export async function fileInput(file: File): Promise<Input> {
  const kind = /^(image|audio)\//.exec(file.type)?.[1];
  if (!kind) throw new Error(`${file.name} is neither a picture nor a recording.`);
  const most = (MOST * 3) / 4;
  if (file.size > most) {
    throw new Error(`${file.name} has more than ${Math.floor(most / 1e6)} MB.`);
  }
  return { [kind]: toBase64(new Uint8Array(await file.arrayBuffer())) };
}

/** The object address of a file in base64. Free it with `URL.revokeObjectURL`. */
export function objectAddress(base64: string, type: string): string {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type }));
}

export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  const step = 1 << 15; // arguments of one call
  for (let i = 0; i < bytes.length; i += step) {
    parts.push(String.fromCharCode(...bytes.subarray(i, i + step)));
  }
  return btoa(parts.join(""));
}
