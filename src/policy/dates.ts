/** Dates of conditions: the ISO 8601 forms of the W3C note on date and time, or seconds since 1970. */

const form = /^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d))?)?)?$/;

/** Unix milliseconds; undefined when it is no date. Four digits are a year. */
export function parseDate(text: string): number | undefined {
  const found = form.exec(text);
  if (found === null) return /^\d{1,12}(?:\.\d{1,9})?$/.test(text) ? Number(text) * 1_000 : undefined;
  const [, year, month = "01", day = "01", hour = "00", minute = "00", second = "00", fraction = "0", zone = "Z"] =
    found;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // What JavaScript would carry over (31 February) is no date.
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(8, 10) !== day || hour === "24") return undefined;
  const offset = offsetMs(zone);
  return offset === undefined ? undefined : ms + Number(`0.${fraction}`) * 1_000 - offset;
}

function offsetMs(zone: string): number | undefined {
  if (zone === "Z") return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4, 6))];
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}
