"use strict";
// One player sounds at a time. Starting another version of the same recording goes on where the first one was, so that
// two rates can be compared on one syllable. A line follows the sound, and a click on a picture plays from there.
for (const recording of document.querySelectorAll(".recording")) {
  let last = null;
  for (const take of recording.querySelectorAll(".take")) {
    const player = take.querySelector("audio");
    if (!player) continue;
    const canvas = take.querySelector(".canvas"), line = canvas.querySelector("i");
    const follow = () => {
      line.style.visibility = player.currentTime > 0 ? "visible" : "hidden";
      line.style.left = 100 * player.currentTime / player.duration + "%";
      if (!player.paused) requestAnimationFrame(follow);
    };
    player.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
      if (last && last !== player && !last.ended) player.currentTime = Math.min(last.currentTime, player.duration);
      last = player;
      follow();
    });
    player.addEventListener("seeked", follow);
    canvas.addEventListener("click", event => {
      const box = canvas.getBoundingClientRect();
      last = player;
      player.currentTime = player.duration * (event.clientX - box.left) / box.width;
      player.play();
    });
  }
}
