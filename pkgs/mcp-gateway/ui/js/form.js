// A form of a schema, by jedison. The schema is the one that `forms.py` writes: names of properties are `p0`,
// `p1`, ... in it and in all values inside of the form, and stand for `names`. Texts in it are escaped already.

import { button } from "./parts.js";
import { safe } from "./visible.js";

const { Jedison } = globalThis;
const SHOWS = 4;

// To press a button ends the writing in a field, and what comes of that must not move the button away from under
// the finger: it waits until the finger is up.
let isPressed = false;
const later = [];

function soon(act) {
  if (isPressed) {
    later.push(act);
  } else {
    act();
  }
}

document.addEventListener("pointerdown", () => {
  isPressed = true;
}, true);
for (const kind of ["pointerup", "pointercancel"]) {
  document.addEventListener(kind, () => setTimeout(() => {
    isPressed = false;
    later.splice(0).forEach((act) => act());
  }), true);
}

const showErrors = Jedison.Editor.prototype.showValidationErrors;
Jedison.Editor.prototype.showValidationErrors = function (errors, force) {
  if (force) {
    showErrors.call(this, errors, force);
  } else {
    soon(() => this.control && showErrors.call(this, errors, force));
  }
};

/** jedison's controls with the looks of ours. */
class Look extends Jedison.Theme {
  getButton(config) {
    const made = button(config.content ?? "", "", () => {});
    if (config.id) {
      made.id = config.id;
    }
    return made;
  }

  #iconButton(name, words, isBad = false) {
    const made = button("", name, () => {}, "ghost", "icon-xs");
    made.setAttribute("aria-label", words);
    made.title = words;
    made.classList.toggle("bad", isBad);
    return made;
  }

  getArrayBtnAdd() {
    const made = button("Add an item", "plus", () => {});
    made.classList.add("jedi-array-add");
    return made;
  }

  getDeleteItemBtn() {
    return this.#iconButton("trash-2", "Delete this item");
  }

  getMoveUpItemBtn() {
    return this.#iconButton("arrow-up", "Move this item up");
  }

  getMoveDownItemBtn() {
    return this.#iconButton("arrow-down", "Move this item down");
  }

  getTextareaControl(config) {
    const control = super.getTextareaControl(config);
    control.input.className = "textarea";
    control.input.rows = 1;
    control.input.spellcheck = false;
    return field(control);
  }

  getInputControl(config) {
    const control = super.getInputControl(config);
    control.input.className = "input";
    return field(control);
  }

  getSelectControl(config) {
    const control = super.getSelectControl(config);
    control.input.className = "select w-full";
    for (const option of control.input.options) {
      option.textContent = safe(option.textContent, false) || "empty text";
    }
    return field(control);
  }

  getSwitcherSelect(config) {
    const control = this.getSelectControl(config);
    control.label.remove();
    control.input.removeAttribute("aria-describedby");
    control.container.classList.add("kind-of");
    return control;
  }

  getCheckboxControl(config) {
    const control = super.getCheckboxControl(config);
    control.input.className = "input";
    control.container.classList.add("check");
    return field(control);
  }

  getNullControl(config) {
    return field(super.getNullControl(config));
  }

  // A legend that names itself, and labels of hidden inputs, confuse who hears the page.
  getLegend(config) {
    const parts = super.getLegend(config);
    parts.legend.removeAttribute("aria-labelledby");
    const text = document.createElement("span");
    text.className = parts.legendText.className;
    text.innerHTML = config.content;
    parts.legendText.replaceWith(text);
    return { ...parts, legendText: text };
  }

  getErrorFeedback(config) {
    const made = document.createElement("div");
    made.className = "field-problem";
    made.textContent = safe(String(config.message));
    return made;
  }
}

function field(control) {
  control.container.classList.add("field");
  return control;
}

/** Text of any number of lines, in a box that grows. */
class Box extends Jedison.EditorStringTextarea {
  static resolves(schema) {
    return schema["x-box"] === true;
  }
}

/** One of several kinds of value: a name, a choice of the kind, and the field for it. */
class Several extends Jedison.EditorMultiple {
  build() {
    super.build();
    const title = document.createElement("span");
    title.className = "jedi-title";
    title.innerHTML = this.getTitle();
    title.id = `${this.getIdFromPath(this.instance.path)}-several`;
    this.control.header.prepend(title);
    this.control.switcher.input.setAttribute("aria-label", `Kind of value: ${title.textContent}`);
    this.control.container.classList.add("several");
  }
}

/** Any JSON, written as such; the form takes what is in it as it is. */
class Free extends Jedison.Editor {
  static resolves(schema) {
    return schema["x-free"] === true;
  }

  build() {
    this.control = this.theme.getTextareaControl({
      title: this.getTitle(),
      description: this.getDescription(),
      id: this.getIdFromPath(this.instance.path),
    });
    this.control.input.classList.add("font-mono");
    this.problem = "";
  }

  addEventListeners() {
    this.control.input.addEventListener("change", () => {
      try {
        const value = JSON.parse(this.control.input.value);
        this.problem = "";
        this.instance.setValue(names(this).into(value), true, "user");
        this.showValidationErrors([]);
      } catch (error) {
        this.problem = error.message;
        this.showValidationErrors([]);
      }
    });
  }

  showValidationErrors(errors, force) {
    super.showValidationErrors(errors, force);
    if (this.problem) {
      this.control.messages.replaceChildren(this.getErrorFeedback({ message: `This is no JSON: ${this.problem}` }));
      this.setAriaInvalid(true);
    }
  }

  refreshUI() {
    super.refreshUI();
    const text = JSON.stringify(names(this).out(this.instance.getValue()), null, 2);
    if (!this.problem && !isSame(this.control.input.value, text)) {
      this.control.input.value = text;
    }
  }
}

/** A list, drawn anew when something in it changes. */
class List extends Jedison.EditorArray {
  static resolves(schema) {
    return schema.type === "array";
  }

  refreshUI() {
    soon(() => this.control && super.refreshUI());
  }
}

/** An object: what is required stands there, what is optional is there to be added. */
class Fields extends Jedison.EditorObject {
  static resolves(schema) {
    return schema.type === "object";
  }

  build() {
    super.build();
    this.more = document.createElement("div");
    this.more.className = "more";
    this.control.childrenSlot.after(this.more);
    this.control.container.classList.add("fields");
    this.leaving = new Map();
  }

  // Called by the library whenever something has changed.
  refreshPropertiesSlot() {
    const left = Object.keys(this.instance.properties).filter(
      (key) => !this.instance.getChild(key)?.isActive && !this.instance.isRequired(key),
    );
    const told = left.join();
    if (this.told === told) {
      return;
    }
    this.told = told;
    this.more.replaceChildren();
    if (left.length) {
      const lead = document.createElement("span");
      lead.className = "quiet";
      lead.textContent = "Optional:";
      this.more.append(lead, ...left.map((key) => this.chip(key)));
    }
  }

  chip(key) {
    const words = safe(names(this).of(key), false);
    const chip = button(words, "plus", () => {
      const schema = this.instance.getPropertySchema(key);
      const child = this.instance.getChild(key) ?? this.instance.createChild(schema, key, undefined, true);
      child.activate();
      this.instance.emit("change", "user");
      this.instance.jedison.emit("change", "user");
      child.ui.control.container.querySelector("input:not([type=hidden]), textarea, select, button")?.focus();
    }, "outline", "xs");
    chip.setAttribute("aria-label", `Add ${words}`);
    return chip;
  }

  // Only moves what has to move: whoever is in a field stays in it.
  refreshEditors() {
    const shown = this.instance.children.filter((child) => child.isActive);
    const wanted = shown.map((child) => child.ui.control.container);
    const slot = this.control.childrenSlot;
    if (wanted.length !== slot.childElementCount || wanted.some((one, at) => slot.children[at] !== one)) {
      slot.replaceChildren(...wanted);
    }
    for (const child of shown) {
      if (this.disabled || this.instance.isReadOnly()) {
        child.ui.disable();
      } else {
        child.ui.enable();
      }
      this.offerToLeave(child);
    }
  }

  offerToLeave(child) {
    const { container } = child.ui.control;
    const key = child.getKey();
    if (this.instance.isRequired(key)) {
      container.classList.add("is-required");
      return;
    }
    if (!container.querySelector(":scope > .leave")) {
      const words = safe(names(this).of(key), false);
      const leave = button("", "x", () => {
        child.deactivate();
        this.instance.emit("change", "user");
        this.instance.jedison.emit("change", "user");
        this.more.querySelector(`[aria-label="Add ${CSS.escape(words)}"]`)?.focus();
      }, "ghost", "icon-xs");
      leave.classList.add("leave");
      leave.setAttribute("aria-label", `Leave out ${words}`);
      container.append(leave);
      container.classList.add("is-optional");
    }
  }

  refreshLegendWarning() {}
}

/** Which names the `p0`, ... of a form stand for, in values too. */
class Names {
  #names;
  #keys;

  constructor(names) {
    this.#names = names;
    this.#keys = new Map(names.map((name, at) => [name, `p${at}`]));
  }

  of(key) {
    return key.startsWith("x") ? key.slice(1) : this.#names[Number(key.slice(1))];
  }

  /** A value as the form has it. */
  into(value) {
    return this.#told(value, (name) => this.#keys.get(name) ?? `x${name}`);
  }

  /** A value of the form, as the tool has it. */
  out(value) {
    return this.#told(value, (key) => this.of(key));
  }

  #told(value, say) {
    if (Array.isArray(value)) {
      return value.map((one) => this.#told(one, say));
    }
    if (value !== null && typeof value === "object") {
      // By `fromEntries`, so that `__proto__` is a name like every other.
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [say(name), this.#told(one, say)]));
    }
    return value;
  }
}

const tables = new WeakMap();

function names(editor) {
  return tables.get(editor.instance.jedison.theme);
}

/** Whether two texts are the same JSON. */
function isSame(one, other) {
  try {
    return JSON.stringify(JSON.parse(one)) === JSON.stringify(JSON.parse(other));
  } catch {
    return false;
  }
}

/** Whether everything in `part` is in `whole`, as it is there. */
function isWithin(part, whole) {
  if (part === null || typeof part !== "object") {
    return Object.is(part, whole) || part === whole;
  }
  if (whole === null || typeof whole !== "object" || Array.isArray(part) !== Array.isArray(whole)) {
    return false;
  }
  if (Array.isArray(part) && part.length !== whole.length) {
    return false;
  }
  return Object.entries(part).every(([key, value]) => Object.hasOwn(whole, key) && isWithin(value, whole[key]));
}

/** The form in `container`. `changed` is told whenever somebody has. */
export class Form {
  #names;
  #form;

  constructor(container, { schema, names: listed }, changed) {
    this.#names = new Names(listed);
    const theme = new Look();
    tables.set(theme, this.#names);
    this.#form = new Jedison.Create({
      container,
      theme,
      schema,
      customEditors: [Free, Several, Box, List, Fields],
      id: "argument",
      // Texts are escaped, and values shall reach the tool as they are.
      purifyHtml: false,
      purifyData: false,
      parseMarkdown: false,
      deactivateNonRequired: true,
      objectAdd: false,
      enforceEnum: true,
      arrayDeleteConfirm: false,
      // Said where it is; the others would only repeat it, with names that mean nothing.
      muteValidationMessages: ["properties", "items", "anyOf", "additionalProperties", "required"],
      arrayButtonsPosition: "right",
      constraints: { type: ({ schema: own, ...context }) => (own["x-free"] ? [] : typed(own, context)) },
    });
    container.querySelector("#argument-jedi-hidden-input, #jedi-hidden-input")?.removeAttribute("name");
    this.#form.on("change", changed);
    // Lists are drawn anew when something in them changes; who was in a field is to stay there, and nobody else.
    this.#form.refreshFocus = () => {
      if (document.activeElement === document.body) {
        document.getElementById(this.#form.lastFocusedId)?.focus();
      }
    };
  }

  get value() {
    return this.#names.out(this.#form.getValue());
  }

  /** Shows a value; whether the form holds all of it. */
  show(value) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      return false;
    }
    // What comes to be by being set shows its default at first, and only who asks its parts gets to know.
    for (let round = 0; round < SHOWS; round += 1) {
      this.#form.setValue(this.#names.into(value));
      const deepest = [...this.#form.instances.values()].sort((one, other) => other.path.length - one.path.length);
      for (const instance of deepest) {
        (instance.activeInstance ?? instance).onChildChange("api");
      }
      if (isWithin(value, this.value)) {
        return true;
      }
    }
    return false;
  }

  /** Says what is wrong where it is; whether something is. */
  isWrong(container) {
    this.#form.showValidationErrors();
    const first = container.querySelector("[aria-invalid=true]");
    first?.focus();
    return first !== null || this.#form.getErrors().length > 0;
  }

  disable() {
    this.#form.disable();
  }
}

const KINDS = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  array: (value) => Array.isArray(value),
  object: (value) => value !== null && typeof value === "object" && !Array.isArray(value),
  null: (value) => value === null,
};
const WORDS = { string: "a text", number: "a number", integer: "a whole number", boolean: "yes or no",
  array: "a list", object: "an object", null: "nothing" };

function typed({ type }, { value, path }) {
  const isRight = KINDS[type]?.(value) ?? true;
  return isRight ? [] : [{ type: "error", path, constraint: "type", messages: [`Must be ${WORDS[type]}.`] }];
}
