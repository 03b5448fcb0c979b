/** A query as code: Python and curl. */

import { type Input, inputKind, type Query } from "./query";

const CHAINED = ["among", "moments", "correct", "where", "limit"] as const;
const LONGEST = 200; // characters of a file in base64 before a placeholder stands for it

/** The query in the words of the Python client. */
export function asPython(query: Query, server: string): string {
  const { inputs, ...options } = query;
  const lines = ["import isotrope", "", `corpus = isotrope.connect(${quote(server)})`];
  const isSimple = inputs.every(
    (each) => !("vector" in each) && (each.weight ?? 1) > 0 && inputs.length === 1,
  );
  const known = new Set<string>(CHAINED);
  if (!isSimple || Object.keys(options).some((name) => !known.has(name))) {
    return [
      ...lines.slice(0, 1),
      "from store.search.query import Query",
      "",
      lines[2],
      `query = Query.from_json(${quote(JSON.stringify(shortened(query)))})`,
      "hits = corpus.run(query)",
      "",
    ].join("\n");
  }
  const first = inputs[0] as Input;
  const kind = inputKind(first);
  const argument = kind === "id" ? `ids=${quote(first.id ?? "")}` : pythonArgument(kind, first);
  let search = `hits = corpus.search(${argument})`;
  for (const name of CHAINED) {
    const value = options[name];
    if (name === "moments" && value === true) search += ".moments()";
    else if (value !== undefined && value !== false) {
      search += `.${name}(${typeof value === "number" ? value : quote(String(value))})`;
    }
  }
  return [...lines, search, "hits.show()", ""].join("\n");
}

/** The query as a command. */
export function asCurl(query: Query, server: string, hasKey: boolean): string {
  const key = hasKey ? ` \\\n  -H "authorization: Bearer $ISOTROPE_API_KEY"` : "";
  const body = JSON.stringify(shortened(query)).replaceAll("'", "'\\''");
  const type = `-H 'content-type: application/json'`;
  return `curl ${server}/search${key} \\\n  ${type} \\\n  -d '${body}'\n`;
}

function pythonArgument(kind: string, input: Input): string {
  if (kind === "text") return `text=${quote(input.text ?? "")}`;
  return `${kind}="path of the file"`;
}

function shortened(query: Query): Query {
  const inputs = query.inputs.map((each) => {
    const short = { ...each };
    for (const kind of ["image", "audio"] as const) {
      if ((short[kind]?.length ?? 0) > LONGEST) short[kind] = `<base64 of the ${kind}>`;
    }
    return short;
  });
  return { ...query, inputs };
}

/** A text as a Python literal: JSON's escapes are also Python's. */
function quote(text: string): string {
  return JSON.stringify(text);
}
