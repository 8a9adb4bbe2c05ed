-- writer: transcoding. Short encodes of pieces of a master and what they looked like: the ladder is planned from them, and
-- they say how hard a film is to encode. A piece is encoded at several sizes and CRFs; `settings` names everything else
-- that decides the numbers (preset, version of the method, ffmpeg).
CREATE TABLE transcode_probe (
    master_id  text NOT NULL REFERENCES master ON DELETE CASCADE,
    settings   text NOT NULL,
    codec      text NOT NULL CHECK (codec IN ('h264', 'av1', 'hevc')),
    height     int NOT NULL CHECK (height > 0),
    crf        int NOT NULL,
    sample     int NOT NULL,              -- number of the piece
    start_s    double precision NOT NULL, -- where it begins in the film
    kbps       double precision NOT NULL CHECK (kbps > 0),               -- of the picture alone
    vmaf       double precision NOT NULL CHECK (vmaf BETWEEN 0 AND 100), -- mean over the piece, at the source's size
    weight     double precision NOT NULL, -- share of the film that the piece stands for
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (master_id, settings, height, crf, sample)
);
