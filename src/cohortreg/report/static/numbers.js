// Numbers as the tables of a cohort write them: what cohortreg/evaluation/numbers.py does, for scripts.
"use strict";

var cohortreg = window.cohortreg || {};
window.cohortreg = cohortreg;

cohortreg.numbers = (function () {
  const MISSING = "–";
  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0, roundingMode: "halfEven" });

  const formats = {
    dice: value => (100 * value).toFixed(2),
    count: value => (value >= 1000 || Number.isInteger(value) ? whole.format(value) : value.toFixed(1)),
    percent: value =>
      value === 0 ? "0" : value < 0.001 ? "< 0.001" : value < 1 ? value.toFixed(3) : value.toFixed(2),
    distance: value => value.toFixed(2),
    spread: value => value.toFixed(3),
    seconds: value =>
      value < 0.005 ? "< 0.01" : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole.format(value),
  };

  // A value as a kind of number; a dash where it is missing.
  const format = (kind, value) => (Number.isNaN(value) ? MISSING : formats[kind](value));

  return { MISSING, format, whole: value => whole.format(value) };
})();
