import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["built", "node_modules"] },
  ...tseslint.configs.strict,
  {
    rules: {
      "max-len": ["error", { code: 100 }],
      "max-lines": ["error", 300],
      eqeqeq: "error",
      // Captions come from strangers: they are text nodes, never HTML.
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({ property })),
        { object: "document", property: "write" },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Use text." },
        { selector: "Property[key.name='dangerouslySetInnerHTML']", message: "Use text." },
      ],
    },
  },
);
