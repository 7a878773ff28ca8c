
"use strict";
/* The trials of a sitting, their order and sides: a function of the study's id and the number of the sitting. */

/** A random generator of numbers in [0, 1), seeded by a text (FNV-1a into mulberry32). */
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

/** Half of the trials, at random, have the real image on the left: always pressing one key gives 50 %. */
function withSides(trials, random) {
  const sides = shuffled(trials.map((_, index) => (index % 2 ? "left" : "right")), random);
  return trials.map((trial, index) => ({ ...trial, real: sides[index] }));
}

/**
 * The trials of a sitting, numbered from 1.
 *
 * A pass shows every pair once, with alternating models, and is cut into sittings. So no sitting shows an image twice,
 * and all passes together show every pair `repeats` times for every model.
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

/** The trials before a rater's first sitting; the page shows which image was real. */
function planPractice(study) {
  const trials = Array.from({ length: study.practice }, (_, pair) => ({
    kind: "practice",
    pair,
    model: pair % study.models,
  }));
  return withSides(trials, randomFrom(`${study.id}/practice`));
}
