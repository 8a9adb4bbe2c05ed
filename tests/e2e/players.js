// One face for both players, so that a test says each thing once: window.player = await open(kind, address).
window.openPlayer = async function openPlayer(kind, address) {
  const video = document.querySelector("video");
  const faults = [];
  const shown = () => [...video.textTracks].filter((track) => track.mode === "showing").flatMap((track) => [...track.activeCues ?? []]).map((cue) => cue.text);
  if (kind === "hls") {
    const hls = new Hls({ maxBufferLength: 6, maxMaxBufferLength: 6, enableWebVTT: true, renderTextTracksNatively: true, keyLoadPolicy: { default: {
      maxTimeToFirstByteMs: 5000, maxLoadTimeMs: 5000, timeoutRetry: null, errorRetry: null } } });
    hls.on(Hls.Events.ERROR, (_, data) => faults.push({ code: data.details, status: data.response?.code ?? null, fatal: data.fatal }));
    const parsed = new Promise((done) => {
      hls.on(Hls.Events.MANIFEST_PARSED, done);
      hls.on(Hls.Events.ERROR, (_, data) => data.fatal && done());
    });
    hls.loadSource(address);
    hls.attachMedia(video);
    await parsed;
    return {
      video, faults, shown,
      rungs: () => hls.levels.map((level) => ({ height: level.height, bandwidth: level.bitrate })),
      languages: () => [...new Set(hls.audioTracks.map((track) => track.lang))],
      texts: () => hls.subtitleTracks.map((track) => track.lang),
      hear: (language) => { hls.audioTrack = hls.audioTracks.findIndex((track) => track.lang === language); },
      heard: () => hls.audioTracks[hls.audioTrack].lang,
      read: (language) => { hls.subtitleTrack = hls.subtitleTracks.findIndex((track) => track.lang === language); hls.subtitleDisplay = true; },
      height: () => video.videoHeight,
    };
  }
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener("error", (event) => faults.push(fault(event.detail)));
  await player.attach(video);
  player.configure({ streaming: { bufferingGoal: 6, retryParameters: { maxAttempts: 1 } }, abr: { switchInterval: 1, defaultBandwidthEstimate: 2e6 } });
  function fault(error) { return { code: String(error.code), status: error.data?.find((value) => value >= 400 && value < 600) ?? null, fatal: true }; }
  try { await player.load(address); } catch (error) { faults.push(fault(error)); }
  return {
    video, faults, shown,
    rungs: () => player.getVariantTracks().map((track) => ({ height: track.height, bandwidth: track.bandwidth })),
    languages: () => [...new Set(player.getAudioTracks().map((track) => track.language))],
    texts: () => player.getTextTracks().map((track) => track.language),
    hear: (language) => player.selectAudioTrack(player.getAudioTracks().find((track) => track.language === language)),
    heard: () => player.getAudioTracks().find((track) => track.active).language,
    read: (language) => { player.selectTextTrack(player.getTextTracks().find((track) => track.language === language)); },
    height: () => video.videoHeight,
  };
};
