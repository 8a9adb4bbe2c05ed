// The OpenAPI document of this server, readable: operations by tag, their parameters, bodies and answers.

import { h } from "./dom.js";

const document_ = await (await fetch("/api/openapi.json")).json();
const schemas = document_.components.schemas;

/** A schema as a sketch of the JSON that fits it. */
function sketch(schema, depth = 0) {
  if (!schema) return null;
  if (schema.$ref) return depth > 4 ? "…" : sketch(schemas[schema.$ref.split("/").at(-1)], depth + 1);
  const choice = schema.anyOf?.find((option) => option.type !== "null");
  if (choice) return sketch(choice, depth);
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return schema.const;
  if (schema.type === "array") return [sketch(schema.items, depth)];
  if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([name, value]) => [name, sketch(value, depth)]));
  return schema.format ? `${schema.type} (${schema.format})` : schema.type ?? "anything";
}

function body(title, content) {
  const schema = Object.values(content ?? {})[0]?.schema;
  return schema ? [h("h3", {}, title), h("pre", {}, JSON.stringify(sketch(schema), null, 2))] : [];
}

function operation(method, path, found) {
  const parameters = (found.parameters ?? []).map((one) => h("tr", {}, h("td", {}, h("code", {}, one.name)), h("td", {}, one.in), h("td", {}, String(sketch(one.schema) ?? ""))));
  const answers = Object.entries(found.responses).filter(([status]) => status !== "default");
  return h("details", { class: "operation" },
    h("summary", {}, h("span", { class: "method" }, method), h("code", {}, path), " ", h("span", { class: "facts" }, found.summary ?? "")),
    h("p", {}, found.description ?? ""), parameters.length > 0 && h("table", {}, parameters),
    body("Body", found.requestBody?.content), answers.map(([status, answer]) => body(status, answer.content)));
}

const groups = new Map();
for (const [path, methods] of Object.entries(document_.paths))
  for (const [method, found] of Object.entries(methods)) {
    const tag = found.tags?.[0] ?? "other";
    groups.set(tag, [...(groups.get(tag) ?? []), operation(method, path, found)]);
  }
document.getElementById("view").replaceChildren(
  h("h1", {}, `${document_.info.title} API ${document_.info.version}`),
  h("p", { class: "hint" }, "Send a bearer token (matinee token --account ID prints one) or the cookies of the page. Errors are problem documents (RFC 9457)."),
  ...[...groups].map(([tag, operations]) => h("section", { class: "row" }, h("h2", {}, tag), operations)));
