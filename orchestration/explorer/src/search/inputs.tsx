/** The inputs of a query: texts, files and items, each with a weight. */

import { useRef, useState } from "preact/hooks";
import { fileInput } from "../files";
import { OwnFile, Thumbnail } from "../picture";
import { type Input, inputKind } from "../query";

interface Props {
  inputs: Input[];
  onChange: (inputs: Input[]) => void;
}

export function Inputs({ inputs, onChange }: Props) {
  const [problem, setProblem] = useState("");
  const [isOver, setOver] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);
  const add = async (files: Iterable<File>) => {
    setProblem("");
    try {
      const made = await Promise.all([...files].map(fileInput));
      const filled = inputs.filter((each) => each.text !== "");
      if (made.length) onChange([...filled, ...made]);
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  const replace = (at: number, input: Input) =>
    onChange(inputs.map((each, i) => (i === at ? input : each)));
  return (
    <fieldset
      class={isOver ? "inputs over" : "inputs"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void add(event.dataTransfer?.files ?? []);
      }}
    >
      <legend>Search for</legend>
      <ul>
        {inputs.map((input, i) => (
          <li key={i}>
            <Value input={input} number={i + 1} onChange={(changed) => replace(i, changed)} />
            <Weight input={input} number={i + 1} onChange={(changed) => replace(i, changed)} />
            <button
              type="button"
              aria-label={`Remove input ${i + 1}`}
              disabled={inputs.length === 1}
              onClick={() => onChange(inputs.filter((_, at) => at !== i))}
            >
              ✕
            </button>
          </li>
        ))}
      </ul>
      <div class="row">
        <button type="button" onClick={() => onChange([...inputs, { text: "" }])}>
          Add a text
        </button>
        <button type="button" onClick={() => chooser.current?.click()}>
          Add a picture or recording
        </button>
        <input
          ref={chooser}
          type="file"
          hidden
          multiple
          accept="image/*,audio/*"
          aria-label="Picture or recording"
          onChange={(event) => void add(event.currentTarget.files ?? [])}
        />
        <span class="hint">or drop files into this box; a weight below 0 means: not like this</span>
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </fieldset>
  );
}

interface ItemProps {
  input: Input;
  number: number;
  onChange: (input: Input) => void;
}

function Value({ input, number, onChange }: ItemProps) {
  const kind = inputKind(input);
  if (kind === "text") {
    return (
      <input
        type="search"
        dir="auto"
        aria-label={`Text ${number}`}
        placeholder="a striped cat"
        value={input.text}
        onInput={(event) => onChange({ ...input, text: event.currentTarget.value })}
      />
    );
  }
  if (kind === "image" || kind === "audio") {
    return (
      <span class="own-file">
        <OwnFile kind={kind} data={input[kind] ?? ""} />
      </span>
    );
  }
  if (kind === "id") {
    return (
      <span class="own-file">
        <Thumbnail partId={input.id ?? ""} label={`item ${input.id}`} />
        <code>{input.id?.slice(0, 8)}</code>
      </span>
    );
  }
  return <span>a vector of {input.vector?.length} numbers</span>;
}

function Weight({ input, number, onChange }: ItemProps) {
  return (
    <label class="weight">
      weight
      <input
        type="number"
        step="0.1"
        required
        aria-label={`Weight of input ${number}`}
        value={input.weight ?? 1}
        onInput={(event) => {
          const weight = event.currentTarget.valueAsNumber;
          if (Number.isFinite(weight)) onChange({ ...input, weight });
        }}
      />
    </label>
  );
}
