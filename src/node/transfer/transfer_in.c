/* The receiver of a snapshot file. See transfer_priv.h for its states and the rule of jobs.
 *
 * Place: node/transfer. */
#include "transfer/transfer_priv.h"

#include "check/check.h"
#include "mem/mem.h"

static void advance(struct transfer_in *in);

static clk_ns now_of(const struct transfer_in *in)
{
    return loop_now(in->transfer->cfg.loop);
}

/* ---- on the background thread ---------------------------------------------------------------- */

static void finish_file(struct transfer_in *in)
{
    in->job_err = snapshot_sink_finish(in->sink, &in->info, &in->job_note);
    if (in->job_err == ERR_OK) {
        /* What it leaves behind is only space; the next one tries again. */
        enum err pruned = snapshot_prune(in->dir, in->offer.group, SNAPSHOT_KEEP, in->floor);
        (void)pruned;
    }
}

static void work(struct job *job)
{
    struct transfer_in *in = CONTAINER_OF(job, struct transfer_in, job);
    in->job_note.text[0] = '\0';
    switch (in->work) {
    case IN_OPEN:
        in->job_err =
            snapshot_sink_open(in->dir, &in->offer, in->size_bytes_max, &in->sink, &in->job_note);
        return;
    case IN_WRITE:
        in->job_err =
            snapshot_sink_write(in->sink, in->writing->offset,
                                bytes_of(in->writing->bytes, in->writing->len), &in->job_note);
        return;
    case IN_FINISH:
        finish_file(in);
        return;
    case IN_CLOSE:
        snapshot_sink_close(in->sink);
        in->sink = NULL;
        return;
    }
}

/* ---- on the core thread ---------------------------------------------------------------------- */

static void tell(struct transfer *transfer, raft_node_id to, const struct transfer_msg *msg)
{
    uint8_t frame[TRANSFER_CHUNK_HEAD + ERR_NOTE_MAX];
    size_t len = transfer_encode(msg, frame);
    /* One that is lost is missed by the sender, who then ends and begins again. */
    (void)transfer->cfg.send(transfer->cfg.self, to, bytes_of(frame, len));
}

static void tell_sender(struct transfer_in *in, enum transfer_kind kind, uint64_t offset)
{
    const struct transfer_msg msg = {
        .kind = kind, .group = in->offer.group, .number = in->number, .offset = offset};
    tell(in->transfer, in->from, &msg);
    in->told_at = now_of(in);
}

static void tell_end(struct transfer_in *in, enum transfer_kind kind, bool ok, const char *text)
{
    const struct transfer_msg msg = {.kind = kind,
                                     .group = in->offer.group,
                                     .number = in->number,
                                     .ok = ok,
                                     .bytes = bytes_of_str(text)};
    tell(in->transfer, in->from, &msg);
}

static void refuse(struct transfer *transfer, raft_node_id to, const struct transfer_msg *what,
                   const char *text)
{
    const struct transfer_msg msg = {.kind = TRANSFER_REFUSE,
                                     .group = what->group,
                                     .number = what->number,
                                     .bytes = bytes_of_str(text)};
    tell(transfer, to, &msg);
}

static void drop_chunks(struct transfer_in *in)
{
    struct list *link;
    while ((link = list_pop_front(&in->chunks)) != NULL) {
        mem_free(CONTAINER_OF(link, struct transfer_chunk, link));
    }
    in->chunk_count = 0;
}

void transfer_in_free(struct transfer_in *in)
{
    CHECK(!in->job_busy);
    list_remove(&in->link);
    drop_chunks(in);
    mem_free(in->writing);
    snapshot_sink_close(in->sink);
    mem_free(in);
}

void transfer_in_close(struct transfer_in *in)
{
    if (in->state == IN_CLOSING) {
        return;
    }
    in->state = IN_CLOSING;
    drop_chunks(in);
    transfer_keep_ticking(in->transfer); /* it goes from there, not under the caller's hands */
    if (in->sink != NULL && !in->job_busy) {
        advance(in);
    }
}

static void fail(struct transfer_in *in, enum transfer_kind kind, const char *text)
{
    transfer_log_failure("in", in->offer.group, in->from, text);
    tell_end(in, kind, false, text);
    transfer_in_close(in);
}

static void run(struct transfer_in *in, enum transfer_in_work what)
{
    struct transfer *transfer = in->transfer;
    if (transfer->stopping) {
        return;
    }
    in->work = what;
    in->floor = transfer->cfg.floor(transfer->cfg.self, in->offer.group);
    in->job_busy = jobs_run(transfer->cfg.jobs, &in->job) == ERR_OK; /* else: the tick */
}

static void chunk_is_written(struct transfer_in *in)
{
    in->written += in->writing->len;
    mem_free(in->writing);
    in->writing = NULL;
    tell_sender(in, TRANSFER_ACK, in->written);
}

static void file_is_whole(struct transfer_in *in)
{
    struct transfer_cfg *cfg = &in->transfer->cfg;
    tell_end(in, TRANSFER_DONE, true, "");
    transfer_in_close(in);
    cfg->received(cfg->self, in->offer.group, &in->info.meta);
}

static void done(struct job *job)
{
    struct transfer_in *in = CONTAINER_OF(job, struct transfer_in, job);
    in->job_busy = false;
    in->heard_at = now_of(in); /* our disk's time is not the sender's silence */
    if (in->transfer->stopping || in->work == IN_CLOSE) {
        transfer_keep_ticking(in->transfer);
        return;
    }
    if (in->work == IN_FINISH && in->job_err == ERR_OK) {
        file_is_whole(in); /* also when the sender is gone: the file is here */
        return;
    }
    if (in->state == IN_CLOSING) {
        advance(in);
        return;
    }
    if (in->job_err != ERR_OK) {
        const char *text = in->job_note.text;
        fail(in, in->work == IN_OPEN ? TRANSFER_REFUSE : TRANSFER_DONE,
             text[0] != '\0' ? text : err_text(in->job_err));
        return;
    }
    if (in->work == IN_OPEN) {
        in->written = snapshot_sink_offset(in->sink);
        in->came = in->written;
        in->state = IN_RECEIVING;
        tell_sender(in, TRANSFER_ACCEPT, in->written);
    } else {
        chunk_is_written(in);
    }
    advance(in);
}

/* Is another transfer of the same peer or group still there? Then its file is not closed yet, and a
 * peer that makes offers without end has one job at a time. */
static bool must_wait(const struct transfer_in *in)
{
    LIST_FOREACH (link, &in->transfer->ins) {
        const struct transfer_in *other = CONTAINER_OF(link, struct transfer_in, link);
        if (other != in && (other->from == in->from || other->offer.group == in->offer.group)) {
            return true;
        }
    }
    return false;
}

static void advance_receiving(struct transfer_in *in)
{
    if (in->writing == NULL && !list_empty(&in->chunks)) {
        in->writing = CONTAINER_OF(list_pop_front(&in->chunks), struct transfer_chunk, link);
        in->chunk_count--;
    }
    if (in->writing != NULL) {
        run(in, IN_WRITE);
    } else if (in->written == in->offer.size_bytes) {
        in->state = IN_FINISHING;
        run(in, IN_FINISH);
    }
}

static void advance(struct transfer_in *in)
{
    if (in->job_busy) {
        return;
    }
    switch (in->state) {
    case IN_WAITING:
        if (must_wait(in)) {
            return;
        }
        in->state = IN_OPENING;
        run(in, IN_OPEN);
        return;
    case IN_OPENING:
        run(in, IN_OPEN);
        return;
    case IN_RECEIVING:
        advance_receiving(in);
        return;
    case IN_FINISHING:
        run(in, IN_FINISH);
        return;
    case IN_CLOSING:
        if (in->sink != NULL) {
            run(in, IN_CLOSE);
        } else {
            transfer_keep_ticking(in->transfer);
        }
        return;
    }
}

/* ---- what the sender says -------------------------------------------------------------------- */

static struct transfer_in *find_open(struct transfer *transfer, raft_node_id from)
{
    LIST_FOREACH (link, &transfer->ins) {
        struct transfer_in *in = CONTAINER_OF(link, struct transfer_in, link);
        if (in->from == from && in->state != IN_CLOSING) {
            return in;
        }
    }
    return NULL;
}

static bool group_is_taken(struct transfer *transfer, raft_node_id from, raft_group_id group)
{
    LIST_FOREACH (link, &transfer->ins) {
        const struct transfer_in *in = CONTAINER_OF(link, struct transfer_in, link);
        if (in->from != from && in->offer.group == group && in->state != IN_CLOSING) {
            return true;
        }
    }
    return false;
}

static void on_offer(struct transfer *transfer, raft_node_id from, const struct transfer_msg *msg)
{
    struct transfer_in *old = find_open(transfer, from);
    if (old != NULL) {
        transfer_in_close(old); /* its sender has begun anew */
    }
    if (group_is_taken(transfer, from, msg->group)) {
        refuse(transfer, from, msg, "another node is sending a snapshot of this group");
        return;
    }
    struct transfer_in *in = mem_alloc(sizeof(*in));
    in->transfer = transfer;
    in->job.work = work;
    in->job.done = done;
    in->from = from;
    in->number = msg->number;
    in->offer = (struct snapshot_offer){
        .group = msg->group, .index = msg->index, .term = msg->term, .size_bytes = msg->size};
    in->dir = transfer->cfg.dir;
    in->size_bytes_max = transfer->cfg.size_bytes_max;
    in->heard_at = now_of(in);
    in->told_at = in->heard_at;
    list_init(&in->chunks);
    list_push_back(&transfer->ins, &in->link);
    transfer_keep_ticking(transfer);
    advance(in);
}

static void on_chunk(struct transfer_in *in, const struct transfer_msg *msg)
{
    in->heard_at = now_of(in);
    bool fits = in->state == IN_RECEIVING && msg->offset == in->came &&
                msg->bytes.len <= in->offer.size_bytes - in->came &&
                in->chunk_count < TRANSFER_WINDOW;
    if (!fits) {
        fail(in, TRANSFER_DONE, "a chunk came that is not the next one");
        return;
    }
    struct transfer_chunk *chunk = mem_alloc(sizeof(*chunk) + msg->bytes.len);
    chunk->offset = msg->offset;
    chunk->len = msg->bytes.len;
    memcpy(chunk->bytes, msg->bytes.data, msg->bytes.len);
    list_push_back(&in->chunks, &chunk->link);
    in->chunk_count++;
    in->came += msg->bytes.len;
    advance(in);
}

void transfer_in_frame(struct transfer *transfer, raft_node_id from, const struct transfer_msg *msg)
{
    if (msg->kind == TRANSFER_OFFER) {
        on_offer(transfer, from, msg);
        return;
    }
    CHECK(msg->kind == TRANSFER_CHUNK);
    struct transfer_in *in = find_open(transfer, from);
    if (in == NULL || in->number != msg->number || in->offer.group != msg->group) {
        refuse(transfer, from, msg, "this transfer has ended here");
        return;
    }
    on_chunk(in, msg);
}

void transfer_in_tick(struct transfer_in *in, clk_ns now)
{
    if (in->state == IN_CLOSING && !in->job_busy && in->sink == NULL) {
        transfer_in_free(in);
        return;
    }
    bool working = in->job_busy || in->state == IN_WAITING;
    if (in->state != IN_CLOSING && working && now - in->told_at >= CLK_MS(TRANSFER_TELL_MS)) {
        tell_sender(in, TRANSFER_WAIT, 0);
    }
    if (in->state == IN_RECEIVING && !in->job_busy &&
        now - in->heard_at > CLK_MS(TRANSFER_RECEIVER_MS)) {
        transfer_log_failure("in", in->offer.group, in->from, "the sender was silent for 30 s");
        transfer_in_close(in);
        return;
    }
    advance(in);
}
