// Saying things: to a screen reader, and times in words. No effects at import: several modules use it.

export function announce(text) {
  const region = document.getElementById('announce');
  if (region) region.textContent = text;
}

const pad = (value) => String(value).padStart(2, '0');

export function asClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86400);
  const rest = whole % 86400;
  const shown = `${Math.floor(rest / 3600)}:${pad(Math.floor(rest % 3600 / 60))}:${pad(rest % 60)}`;
  return days ? `${days} d ${shown}` : shown;
}

export function asWords(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor(whole % 86400 / 3600)} h`;
}
