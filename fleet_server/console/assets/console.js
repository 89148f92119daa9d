// Ours, small on purpose: ages that tick, the live feed, the alarm sound. Pages work without it; they only stand still.
(() => {
  "use strict";

  const body = document.body;
  const formats = { s: body.dataset.ageS, m: body.dataset.ageM, h: body.dataset.ageH, d: body.dataset.ageD };
  const silenceMs = () => Number(body.dataset.silenceMs || 13000); // more than two ticks of the feed
  const brokenMs = 5000; // a feed that breaks off is back sooner than this when the server only restarts
  let ahead = Number(body.dataset.nowMs) - Date.now(); // how far the server's clock is ahead of this one

  // Ages

  const fill = (format, values) => format.replace(/%\((\w)\)s/g, (_, key) => values[key]);

  const ageText = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return fill(formats.s, { s });
    if (s < 3600) return fill(formats.m, { m: Math.floor(s / 60) });
    if (s < 172800) return fill(formats.h, { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) });
    return fill(formats.d, { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) });
  };

  const tickAges = () => {
    const now = Date.now() + ahead;
    for (const element of document.querySelectorAll("time[data-age-ms]")) {
      const text = ageText(now - Number(element.dataset.ageMs));
      if (element.textContent !== text) element.textContent = text;
    }
  };

  // The page is of the moment at which the server was last heard.

  const language = document.documentElement.lang;
  const inBangkok = (options) => new Intl.DateTimeFormat(language === "th" ? "th-TH-u-ca-buddhist" : "en-GB", { timeZone: "Asia/Bangkok", ...options });
  const clock = inBangkok({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = inBangkok({ day: "numeric", month: "short", year: "numeric", ...(language === "th" && { era: "short" }) });

  const setMoment = (ms) => {
    document.getElementById("as-of").textContent = clock.format(ms);
    document.getElementById("as-of-day").textContent = day.format(ms);
  };

  // Sound: browsers start silent until somebody taps; the tap plays the tone once, so that it is known to be heard. Who wants
  // sound wants it on the next page too: where the browser does not allow it there, the button says so until the next tap.

  const soundButton = document.getElementById("sound");
  const wish = { get: () => sessionStorage.getItem("sound") === "on", set: (isOn) => sessionStorage.setItem("sound", isOn ? "on" : "off") };
  let audio = null;
  const heard = new Set();

  const tone = (at, pitch, length) => {
    const oscillator = audio.createOscillator();
    const gain = audio.createGain();
    oscillator.type = "triangle";
    oscillator.frequency.value = pitch;
    gain.gain.setValueAtTime(0.0001, at);
    gain.gain.exponentialRampToValueAtTime(0.4, at + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.0001, at + length);
    oscillator.connect(gain).connect(audio.destination);
    oscillator.start(at);
    oscillator.stop(at + length);
  };

  const sound = (isDrill) => {
    if (!audio || audio.state !== "running") return;
    const now = audio.currentTime;
    const pitches = isDrill ? [660] : [880, 660, 880, 660];
    pitches.forEach((pitch, index) => tone(now + index * 0.22, pitch, 0.2));
  };

  // Who listens for presses must hear that none can be heard.
  const soundLost = () => {
    if (!audio || audio.state !== "running") return;
    [440, 330, 220].forEach((pitch, index) => tone(audio.currentTime + index * 0.35, pitch, 0.3));
  };

  const openPresses = () => [...document.querySelectorAll("[data-press]")];

  const soundNew = () => {
    const fresh = openPresses().filter((press) => !heard.has(press.dataset.press));
    fresh.forEach((press) => heard.add(press.dataset.press));
    if (fresh.length) sound(fresh.every((press) => press.hasAttribute("data-drill")));
  };

  const remind = () => {
    if (openPresses().some((press) => !press.hasAttribute("data-drill"))) sound(false);
  };

  const showSound = () => {
    const isOn = Boolean(audio) && audio.state === "running";
    soundButton.setAttribute("aria-pressed", String(isOn));
    soundButton.classList.toggle("sound--wanted", wish.get() && !isOn);
  };

  const wake = () => {
    if (!wish.get()) return;
    if (!audio) {
      audio = new AudioContext();
      audio.addEventListener("statechange", showSound);
    }
    audio.resume();
  };

  if (soundButton) {
    soundButton.hidden = false;
    soundButton.addEventListener("click", async () => {
      const isOn = soundButton.getAttribute("aria-pressed") === "true";
      wish.set(!isOn);
      wake();
      if (isOn) await audio.suspend();
      else await audio.resume().then(() => sound(true));
      showSound();
    });
    wake();
    showSound();
    for (const gesture of ["pointerdown", "keydown"]) {
      document.addEventListener(gesture, (event) => soundButton.contains(event.target) || wake());
    }
  }

  // The title counts what waits, so that a tab in the background says it too.

  const title = document.title;
  const isLost = () => document.documentElement.classList.contains("is-feed-lost");
  const countTitle = () => {
    const open = openPresses().filter((press) => !press.hasAttribute("data-drill")).length;
    const lost = isLost() ? `⚠ ${document.getElementById("lost").dataset.words} · ` : "";
    document.title = lost + (open ? `(${open}) ${title}` : title);
  };

  // The live feed

  const view = body.dataset.live;
  let after = body.dataset.after;
  let source = null;
  let lastHeard = Date.now();
  let brokenAt = 0;

  const setLost = (nowLost) => {
    if (isLost() === nowLost) return;
    document.documentElement.classList.toggle("is-feed-lost", nowLost);
    const banner = document.getElementById("lost");
    banner.setAttribute("aria-hidden", String(!nowLost));
    document.getElementById("lost-words").textContent = nowLost ? banner.dataset.words : "";
    const since = document.getElementById("lost-since");
    since.dataset.ageMs = String(lastHeard + ahead);
    tickAges();
    countTitle();
    if (nowLost) soundLost();
  };

  const hear = () => {
    lastHeard = Date.now();
    brokenAt = 0;
    setLost(false);
  };

  const update = (event) => {
    after = event.lastEventId || after;
    hear();
    const unfolded = [...document.querySelectorAll("details[open][id]")].map((details) => details.id);
    window.htmx.swap(body, event.data, { swapStyle: "none", swapDelay: 0, settleDelay: 0 });
    for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
    tickAges();
    soundNew();
    countTitle();
  };

  const connect = () => {
    const query = new URLSearchParams({ view, subject: body.dataset.subject, lang: language, after });
    source = new EventSource(`/live?${query}`);
    source.addEventListener("update", update);
    source.addEventListener("tick", (event) => {
      ahead = Number(event.data) - Date.now();
      setMoment(Number(event.data));
      hear();
    });
    source.addEventListener("reload", () => location.reload());
    source.addEventListener("bye", () => location.reload());
    source.addEventListener("error", () => {
      brokenAt = brokenAt || Date.now();
      // The browser tries again by itself unless it was refused: then we do, if we may still look.
      if (source.readyState === EventSource.CLOSED) setTimeout(returnOrLeave, 2000 + Math.random() * 2000);
    });
  };

  const returnOrLeave = async () => {
    const answer = await fetch(location.href).catch(() => null);
    if (answer && answer.status === 401) location.reload();
    else connect();
  };

  const watch = () => {
    const now = Date.now();
    if (view && (now - lastHeard > silenceMs() || (brokenAt && now - brokenAt > brokenMs))) setLost(true);
  };

  // An act of the panel shows at once that it was taken.

  body.addEventListener("htmx:beforeRequest", (event) => event.target.setAttribute("aria-busy", "true"));
  body.addEventListener("htmx:afterRequest", (event) => {
    event.target.removeAttribute("aria-busy");
    const box = document.getElementById("failed");
    const isFailed = event.detail.failed || !event.detail.successful;
    box.textContent = isFailed ? event.detail.xhr.responseText || body.dataset.failed : "";
    box.hidden = !isFailed;
  });

  openPresses().forEach((press) => heard.add(press.dataset.press));
  countTitle();
  tickAges();
  setInterval(() => {
    tickAges();
    watch();
  }, 1000);
  setInterval(remind, 15000);
  if (view) connect();
  window.addEventListener("pagehide", () => source && source.close());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
