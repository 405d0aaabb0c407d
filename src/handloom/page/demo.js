// The page of `handloom demo`: sends frames one at a time (the next when the last is answered) and draws what comes back.

const NAMES = ["wrist", ...["thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"],
  ...["index", "middle", "ring", "little"].flatMap(f => ["mcp", "pip", "dip", "tip"].map(j => `${f}_${j}`))];
const FINGERS = ["#ff2626", "#ffb426", "#4cff26", "#26d4ff", "#ff26f7"];
const LONGEST_SIDE = 640; // of a frame that is sent: the nets see less
const SURE = 0.8; // of a gesture that is named: gestures.MIN_CONFIDENCE
const MAX_UPLOAD = 20 * 2 ** 20;

const byId = id => document.getElementById(id);
const video = byId("video"), canvas = byId("canvas"), pen = canvas.getContext("2d");
const sent = document.createElement("canvas");
const settings = () => ({ min_score: Number(byId("score").value), smooth: byId("smooth").checked });

let socket = null; // open while frames flow
let stream = null; // of the camera
let still = null;  // the picture last shown, and its hands
let ticks = [];    // when answers came, ms
let turn = 0;      // counts what was begun: an answer to an earlier one comes too late

function say(text, wrong = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("wrong", wrong);
}

function show(hands, ms, back, live, mirrored = false) {
  byId("count").textContent = hands.length;
  byId("nets").textContent = ms.toFixed(1);
  byId("latency").textContent = back.toFixed(0);
  const now = performance.now();
  ticks = [...ticks.filter(then => now - then < 1000), now];
  byId("fps").textContent = live ? ticks.length : "–";
  const across = mirrored ? -1 : 1; // as the picture shows them, from left to right
  inSpace = [...hands].sort((a, b) => across * (a.box[0] + a.box[2] - b.box[0] - b.box[2]))
    .filter(hand => hand.keypoints_3d) // nets may be without
    .map(hand => hand.keypoints_3d.map(([x, y, z]) => [across * x, y, z]));
  drawSpace();
  const rows = hands.map(hand => ({ ...hand, keypoints: Object.fromEntries(NAMES.map((name, i) => [name, hand.keypoints[i]])) }));
  byId("numbers").textContent = JSON.stringify(rows, null, 1);
}

function draw(source, width, height, hands, scale, mirrored, mask = null) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  byId("hint").hidden = true;
  const x = value => (mirrored ? width - value * scale : value * scale);
  pen.save();
  if (mirrored) { pen.translate(width, 0); pen.scale(-1, 1); }
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, width, height); // behind what is transparent, as handloom reads it
  pen.drawImage(source, 0, 0, width, height);
  if (mask) { pen.globalAlpha = 0.4; pen.drawImage(mask, 0, 0, width, height); }
  pen.restore();
  const bold = Math.max(2, width / 250);
  for (const hand of hands) {
    const points = hand.keypoints.map(([px, py, seen]) => [x(px + 0.5), (py + 0.5) * scale, seen]);
    pen.lineWidth = bold;
    for (let i = 1; i < points.length; i++) {
      const from = i % 4 === 1 ? 0 : i - 1;
      if (points[i][2] < 0.5 || points[from][2] < 0.5) continue;
      pen.strokeStyle = FINGERS[Math.floor((i - 1) / 4)];
      pen.beginPath(); pen.moveTo(points[from][0], points[from][1]); pen.lineTo(points[i][0], points[i][1]); pen.stroke();
    }
    points.forEach(([px, py, seen], i) => {
      if (seen < 0.5) return;
      pen.fillStyle = i ? FINGERS[Math.floor((i - 1) / 4)] : "#fff";
      pen.beginPath(); pen.arc(px, py, bold * 1.4, 0, 2 * Math.PI); pen.fill();
    });
    const [left, top, right] = hand.box;
    const says = hand.gesture !== "none" && hand.gesture_confidence >= SURE ? ` ${hand.gesture.replace("_", " ")}` : "";
    const label = `${hand.handedness} ${hand.score.toFixed(3)}${says}`;
    pen.font = `${bold * 7}px system-ui, sans-serif`;
    const wide = pen.measureText(label).width + bold * 2;
    const place = [Math.max(0, Math.min(x(left), x(right), width - wide)), Math.max(bold * 8, top * scale - bold * 2)];
    pen.fillStyle = "#000a"; pen.fillRect(place[0], place[1] - bold * 7, wide, bold * 9);
    pen.fillStyle = "#ffb000"; pen.fillText(label, place[0] + bold, place[1]);
  }
}

let inSpace = [];                // keypoints of each hand, in bones of its own, from its wrist
let view = { turn: 0.5, lean: 0.2 }; // about the upright axis and over, radians; both 0: as the camera sees it

function drawSpace() {
  const sheet = byId("space"), space = sheet.getContext("2d");
  const { width, height } = sheet, wide = width / Math.max(2, inSpace.length);
  space.clearRect(0, 0, width, height);
  if (!byId("lift").checked) return;
  const [s, c, t, d] = [Math.sin(view.turn), Math.cos(view.turn), Math.sin(view.lean), Math.cos(view.lean)];
  inSpace.forEach((hand, place) => {
    const middle = [0, 1, 2].map(axis => hand.reduce((sum, point) => sum + point[axis], 0) / hand.length);
    const points = hand.map(point => {
      const [x, y, z] = point.map((value, axis) => value - middle[axis]);
      const across = c * x + s * z, away = c * z - s * x;
      return [across, d * y - t * away, d * away + t * y];
    });
    const reach = Math.max(...points.map(([x, y, z]) => Math.hypot(x, y, z)), 1e-6);
    const unit = 0.46 * Math.min(wide, height) / reach;
    const left = (width - wide * inSpace.length) / 2 + wide * (place + 0.5);
    const at = ([x, y, z]) => { const near = 4 * reach / (4 * reach + z); return [left + x * unit * near, height / 2 + y * unit * near]; };
    const bones = points.slice(1).map((_, i) => [i % 4 === 0 ? 0 : i, i + 1]);
    bones.sort(([a, b], [e, f]) => points[e][2] + points[f][2] - points[a][2] - points[b][2]); // far ones first
    for (const [from, to] of bones) {
      const depth = (points[from][2] + points[to][2]) / (2 * reach);
      space.lineWidth = 6 * (1 - 0.4 * depth);
      space.lineCap = "round";
      space.strokeStyle = FINGERS[Math.floor((to - 1) / 4)];
      space.globalAlpha = 0.75 - 0.25 * depth;
      space.beginPath(); space.moveTo(...at(points[from])); space.lineTo(...at(points[to])); space.stroke();
    }
    space.globalAlpha = 1;
  });
}

function turnSpace(turn, lean) {
  view = { turn: view.turn + turn, lean: Math.max(-1.5, Math.min(1.5, view.lean + lean)) };
  drawSpace();
}

function stop() {
  turn++;
  stream?.getTracks().forEach(track => track.stop());
  socket?.close();
  stream = socket = still = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.pause();
  video.removeAttribute("src");
  video.srcObject = null;
  byId("camera").textContent = "Start camera";
}

function follow(mirrorable) {
  const line = new WebSocket(`ws://${location.host}/frames`);
  socket = line;
  let begun = 0;
  const next = () => {
    if (socket !== line || line.readyState !== WebSocket.OPEN) return;
    if (video.ended) { say("The video has ended."); stop(); return; }
    if (video.readyState < 2) { requestAnimationFrame(next); return; }
    const shrink = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    [sent.width, sent.height] = [Math.round(video.videoWidth * shrink), Math.round(video.videoHeight * shrink)];
    sent.getContext("2d").drawImage(video, 0, 0, sent.width, sent.height);
    sent.toBlob(blob => {
      begun = performance.now();
      if (line.readyState === WebSocket.OPEN) line.send(blob);
    }, "image/jpeg", 0.8);
  };
  line.onopen = () => { line.send(JSON.stringify(settings())); next(); };
  line.onmessage = event => {
    const said = JSON.parse(event.data);
    // the very frame that the hands were found in, so that they never lag behind the picture
    const mirrored = mirrorable && byId("mirror").checked;
    draw(sent, sent.width, sent.height, said.hands, 1, mirrored);
    show(said.hands, said.ms, performance.now() - begun, true, mirrored);
    next();
  };
  line.onclose = event => {
    if (socket !== line) return;
    stop();
    say(event.reason || "The connection to handloom was lost. See whether `handloom demo` still runs, then start again.", true);
  };
}

async function startCamera() {
  stop();
  if (!navigator.mediaDevices) {
    say("This browser gives no camera to this page. Open it as http://127.0.0.1 or http://localhost.", true);
    return;
  }
  const own = turn;
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
  } catch (error) {
    if (own !== turn) return;
    const why = {
      NotAllowedError: "The camera was not allowed. Allow it beside the page's address, then start again.",
      NotFoundError: "No camera was found. Plug one in, or open a picture or a video.",
      NotReadableError: "The camera is in use by another program. Close that one, then start again.",
    };
    say(why[error.name] ?? `The camera could not be opened (${error.name}). Open a picture or a video instead.`, true);
    return;
  }
  if (own !== turn) {
    opened.getTracks().forEach(track => track.stop());
    return;
  }
  stream = opened;
  stream.getVideoTracks()[0].onended = () => {
    if (stream !== opened) return;
    stop();
    say("The camera was closed. Start it again, or open a picture or a video.", true);
  };
  video.srcObject = stream;
  await video.play();
  if (own !== turn) return;
  byId("camera").textContent = "Stop camera";
  say("");
  follow(true);
}

async function openPicture(file) {
  if (file.size > MAX_UPLOAD) {
    say(`That picture has ${(file.size / 2 ** 20).toFixed(0)} MB; the demo takes up to ${MAX_UPLOAD / 2 ** 20}. Shrink it first.`, true);
    return;
  }
  const begun = performance.now(), own = ++turn;
  let response, said;
  try {
    response = await fetch(`picture?min_score=${settings().min_score}`, { method: "POST", body: file });
    said = response.headers.get("content-type") === "application/json" ? await response.json() : {};
  } catch {
    if (own === turn) say("The connection to handloom was lost. See whether `handloom demo` still runs, then try again.", true);
    return;
  }
  if (own !== turn) return;
  if (!response.ok) {
    say(response.status === 413 ? "That picture is too large for the demo. Shrink it first." : said.error ?? `It could not be read (${response.status}).`, true);
    return;
  }
  show(said.hands, said.ms, performance.now() - begun, false);
  say(said.hands.length ? "" : "No hand was found. A lower least score finds more, and more that is none.");
  try {
    const [picture, mask] = [await createImageBitmap(file), await tinted(said.mask)];
    if (own !== turn) return;
    still = { file, said, picture, mask };
    showStill();
  } catch {
    if (own === turn) say("This browser cannot show that kind of picture; what was found stands below in numbers.", true);
  }
}

function showStill() {
  const { picture, said, mask } = still;
  const scale = Math.min(1, 1280 / Math.max(picture.width, picture.height));
  draw(picture, Math.round(picture.width * scale), Math.round(picture.height * scale), said.hands, scale, false, mask);
}

async function tinted(png) {
  const bytes = Uint8Array.from(atob(png), letter => letter.charCodeAt(0));
  const mask = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const sheet = new OffscreenCanvas(mask.width, mask.height), own = sheet.getContext("2d");
  own.drawImage(mask, 0, 0);
  const pixels = own.getImageData(0, 0, mask.width, mask.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const hand = pixels.data[i];
    pixels.data.set(hand ? [255, 176, 0, 255] : [0, 0, 0, 0], i);
  }
  own.putImageData(pixels, 0, 0);
  return sheet;
}

async function open(file) {
  if (!file) return;
  stop();
  say("");
  if (file.type.startsWith("video/")) {
    const own = turn;
    video.src = URL.createObjectURL(file);
    try {
      await video.play();
      if (own !== turn) return;
    } catch {
      if (own !== turn) return;
      stop();
      say("This browser cannot play that video. Convert it to MP4 (H.264) or WebM, or use `handloom predict`.", true);
      return;
    }
    follow(false);
  } else {
    await openPicture(file);
  }
}

byId("camera").onclick = () => (stream ? (stop(), say("")) : startCamera());
byId("file").onchange = event => open(event.target.files[0]);
byId("mirror").onchange = () => still && showStill();
byId("smooth").onchange = () => socket?.send(JSON.stringify(settings()));
byId("score").oninput = () => { byId("score-value").textContent = settings().min_score.toFixed(3); };
byId("score").onchange = () => (still ? openPicture(still.file) : socket?.send(JSON.stringify(settings())));
byId("lift").onchange = drawSpace;
byId("space").onpointerdown = event => event.target.setPointerCapture(event.pointerId);
byId("space").onpointermove = event => event.buttons && turnSpace(-event.movementX / 100, event.movementY / 100);
byId("space").onkeydown = event => {
  const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
  if (step) { event.preventDefault(); turnSpace(...step); }
};
const stage = byId("stage");
stage.ondragover = event => { event.preventDefault(); stage.classList.add("over"); };
stage.ondragleave = () => stage.classList.remove("over");
stage.ondrop = event => { event.preventDefault(); stage.classList.remove("over"); open(event.dataTransfer.files[0]); };
