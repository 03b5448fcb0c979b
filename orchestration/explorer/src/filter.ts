/** Conditions on the columns of a gallery, as `where` of a query takes them. */

export interface Column {
  name: string;
  kind: "number" | "text" | "flag" | "list";
}

export interface Test {
  column: string;
  operator: string;
  value: string;
}

export const OPERATORS: Record<Column["kind"], readonly string[]> = {
  number: [">=", "<=", "=", "<>", "is null", "is not null"],
  text: ["=", "<>", "contains", "is null", "is not null"],
  flag: ["is true", "is false"],
  list: ["has"],
};

/** The condition that all tests hold. Throws an error if a number is none. */
export function toCondition(tests: readonly Test[], columns: readonly Column[]): string {
  return tests.map((test) => condition(test, columns)).join(" AND ");
}

function condition(test: Test, columns: readonly Column[]): string {
  const column = columns.find((each) => each.name === test.column);
  if (!column) throw new Error(`There is no column ${test.column}.`);
  const { name, kind } = column;
  if (test.operator.startsWith("is ")) {
    const isNull = test.operator.endsWith("null");
    return isNull ? `${name} ${test.operator.toUpperCase()}` : flag(name, test.operator);
  }
  const value = kind === "number" ? number(test) : `'${test.value.replaceAll("'", "''")}'`;
  if (test.operator === "contains") return `contains(${name}, ${value})`;
  if (test.operator === "has") return `array_has(${name}, ${value})`;
  return `${name} ${test.operator} ${value}`;
}

function flag(name: string, operator: string): string {
  return operator === "is true" ? name : `NOT ${name}`;
}

function number(test: Test): string {
  const value = Number(test.value);
  if (test.value.trim() === "" || !Number.isFinite(value)) {
    throw new Error(`${test.column} ${test.operator}: ${test.value || "nothing"} is not a number.`);
  }
  return String(value);
}
