
"use strict";
/* What a sitting shows, in which order and on which side: a function of the study's id and the sitting's number. */

/** A function that gives numbers in [0, 1), the same ones for the same text (FNV-1a into mulberry32). */
function randomFrom(text) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A copy of the list in random order (Fisher-Yates). */
function shuffled(list, random) {
  const copy = [...list];
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [copy[last], copy[other]] = [copy[other], copy[last]];
  }
  return copy;
}

/** Half of the trials have the real picture on the left, in random order: always pressing one key earns nothing. */
function withSides(trials, random) {
  const sides = shuffled(trials.map((_, index) => (index % 2 ? "left" : "right")), random);
  return trials.map((trial, index) => ({ ...trial, real: sides[index] }));
}

/**
 * The trials of a sitting, numbered from 1.
 *
 * A pass shows every pair once, with the models taking turns, and is cut into sittings. So no sitting shows a picture
 * twice, and after all passes every pair was compared `repeats` times with every model.
 */
function planSitting(study, sitting) {
  const parts = Math.ceil(study.pairs / study.trials);
  const pass = Math.floor((sitting - 1) / parts);
  const part = (sitting - 1) % parts;
  const everything = Array.from({ length: study.pairs }, (_, pair) => pair);
  const order = shuffled(everything, randomFrom(`${study.id}/pass/${pass}`));
  const random = randomFrom(`${study.id}/sitting/${sitting}`);
  const from = Math.floor((part * study.pairs) / parts);
  const to = Math.floor(((part + 1) * study.pairs) / parts);
  const trials = order.slice(from, to).map((pair) => ({ kind: "pair", pair, model: (pair + pass) % study.models }));
  for (let number = 0; number < study.catch; number++) {
    const place = 1 + Math.floor(random() * trials.length);
    trials.splice(place, 0, { kind: "catch", pair: number, model: 0 });
  }
  return withSides(trials, random);
}

/** The trials before a rater's first sitting; they are told which picture was real. */
function planPractice(study) {
  const trials = Array.from({ length: study.practice }, (_, pair) => ({
    kind: "practice",
    pair,
    model: pair % study.models,
  }));
  return withSides(trials, randomFrom(`${study.id}/practice`));
}
