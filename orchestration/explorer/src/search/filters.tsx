/** The condition of a query, built from the gallery's columns or written as SQL. */

import { useState } from "preact/hooks";
import { type Column, OPERATORS, toCondition } from "../filter";

interface Props {
  columns: Column[];
  where: string;
  onChange: (where: string) => void;
}

export function Filters({ columns, where, onChange }: Props) {
  const [name, setName] = useState(columns[0]?.name ?? "");
  const [operator, setOperator] = useState("");
  const [value, setValue] = useState("");
  const [problem, setProblem] = useState("");
  const column = columns.find((each) => each.name === name);
  const operators = column ? OPERATORS[column.kind] : [];
  const chosen = operators.includes(operator) ? operator : (operators[0] ?? "");
  const add = () => {
    try {
      const test = toCondition([{ column: name, operator: chosen, value }], columns);
      onChange(where.trim() ? `${where.trim()} AND ${test}` : test);
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <details class="filters" open={where !== ""}>
      <summary>Only items that …</summary>
      <label class="wide">
        Condition (SQL on the gallery's columns)
        <input
          type="text"
          spellcheck={false}
          placeholder="image_width >= 256 AND text_language = 'en'"
          value={where}
          onInput={(event) => onChange(event.currentTarget.value)}
        />
      </label>
      <div class="row">
        <label>
          Column
          <select value={name} onChange={(event) => setName(event.currentTarget.value)}>
            {columns.map((each) => (
              <option value={each.name}>{each.name}</option>
            ))}
          </select>
        </label>
        <label>
          Test
          <select value={chosen} onChange={(event) => setOperator(event.currentTarget.value)}>
            {operators.map((each) => (
              <option value={each}>{each}</option>
            ))}
          </select>
        </label>
        {!chosen.startsWith("is ") && (
          <label>
            Value
            <input
              type="text"
              inputMode={column?.kind === "number" ? "decimal" : "text"}
              value={value}
              onInput={(event) => setValue(event.currentTarget.value)}
            />
          </label>
        )}
        <button type="button" onClick={add}>
          Add the condition
        </button>
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </details>
  );
}
