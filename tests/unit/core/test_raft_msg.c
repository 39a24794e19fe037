/* Claims about the encodings of core/raft: golden bytes, and what a decoder refuses. */
#include "raft/raft.h"
#include "test.h"

static const uint8_t golden_msg[RAFT_MSG_BYTES] = {
    0x06, 0x03, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* type, flags, zero, group */
    0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, /* from, to */
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* term */
    0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* index */
    0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* log_term */
    0x13, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* commit */
    0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* hint */
    0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, /* token */
};

static const struct raft_msg golden = {
    .type = RAFT_MSG_APPEND_REPLY,
    .group = 1,
    .from = 2,
    .to = 3,
    .term = 0x0102030405060708,
    .index = 0x11,
    .log_term = 0x12,
    .commit = 0x13,
    .hint = 0x14,
    .token = 0x8899aabbccddeeff,
    .reject = true,
    .repairing = true,
};

static void message_has_its_golden_bytes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1024);
    assert_int_equal(raft_msg_encode(&golden, &b), ERR_OK);
    assert_int_equal(b.len, RAFT_MSG_BYTES);
    assert_memory_equal(b.data, golden_msg, RAFT_MSG_BYTES);
    struct reader r = reader_of(buf_bytes(&b));
    struct raft_msg back;
    assert_int_equal(raft_msg_decode(&r, &back), ERR_OK);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(back.type, golden.type);
    assert_int_equal(back.term, golden.term);
    assert_int_equal(back.index, golden.index);
    assert_int_equal(back.log_term, golden.log_term);
    assert_int_equal(back.commit, golden.commit);
    assert_int_equal(back.hint, golden.hint);
    assert_int_equal(back.token, golden.token);
    assert_true(back.reject && back.repairing);
    buf_done(&b);
}

static enum err decode_with(size_t offset, uint8_t byte)
{
    uint8_t bytes[RAFT_MSG_BYTES];
    memcpy(bytes, golden_msg, sizeof(bytes));
    bytes[offset] = byte;
    struct reader r = reader_of(bytes_of(bytes, sizeof(bytes)));
    struct raft_msg msg;
    return raft_msg_decode(&r, &msg);
}

static void impossible_messages_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_with(0, 1), ERR_OK);
    assert_int_equal(decode_with(0, 0), ERR_BAD_INPUT);
    assert_int_equal(decode_with(0, 9), ERR_BAD_INPUT);
    assert_int_equal(decode_with(1, 4), ERR_BAD_INPUT);
    assert_int_equal(decode_with(2, 1), ERR_BAD_INPUT);
    assert_int_equal(decode_with(4, 0), ERR_BAD_INPUT);     /* group 0 */
    assert_int_equal(decode_with(8, 0), ERR_BAD_INPUT);     /* from 0 */
    assert_int_equal(decode_with(12, 0), ERR_BAD_INPUT);    /* to 0 */
    assert_int_equal(decode_with(23, 0x7f), ERR_BAD_INPUT); /* a term that would overflow */
    assert_int_equal(decode_with(31, 0x7f), ERR_BAD_INPUT);
    assert_int_equal(decode_with(39, 0x7f), ERR_BAD_INPUT);
    assert_int_equal(decode_with(47, 0x7f), ERR_BAD_INPUT);
    assert_int_equal(decode_with(55, 0x7f), ERR_BAD_INPUT);
    for (size_t len = 0; len < RAFT_MSG_BYTES; len++) {
        struct reader r = reader_of(bytes_of(golden_msg, len));
        struct raft_msg msg;
        assert_int_equal(raft_msg_decode(&r, &msg), ERR_BAD_INPUT);
    }
}

static const uint8_t golden_config[] = {
    0x01, 0x00, 0x02, 0x00,                         /* version, count */
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* node 1, voter */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* storage id */
    0x07, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, /* node 7, learner */
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* storage id */
};

static void configuration_has_its_golden_bytes(void **state)
{
    (void)state;
    struct raft_config config = {.count = 2};
    config.members[0] = (struct raft_member){1, RAFT_VOTER, 0x1122334455667788};
    config.members[1] = (struct raft_member){7, RAFT_LEARNER, 2};
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&config, &b), ERR_OK);
    assert_int_equal(b.len, sizeof(golden_config));
    assert_memory_equal(b.data, golden_config, sizeof(golden_config));
    struct raft_config back;
    assert_int_equal(raft_config_decode(buf_bytes(&b), &back), ERR_OK);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.members[1].node, 7);
    assert_int_equal(back.members[1].role, RAFT_LEARNER);
    assert_int_equal(back.members[0].storage_id, 0x1122334455667788);
    buf_done(&b);
}

static enum err decode_config_with(size_t offset, uint8_t byte)
{
    uint8_t bytes[sizeof(golden_config)];
    memcpy(bytes, golden_config, sizeof(bytes));
    bytes[offset] = byte;
    struct raft_config config;
    return raft_config_decode(bytes_of(bytes, sizeof(bytes)), &config);
}

static void impossible_configurations_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_config_with(20, 8), ERR_OK);
    assert_int_equal(decode_config_with(0, 2), ERR_BAD_INPUT);  /* a later version */
    assert_int_equal(decode_config_with(2, 1), ERR_BAD_INPUT);  /* bytes left over */
    assert_int_equal(decode_config_with(2, 3), ERR_BAD_INPUT);  /* bytes missing */
    assert_int_equal(decode_config_with(3, 1), ERR_BAD_INPUT);  /* too many */
    assert_int_equal(decode_config_with(4, 0), ERR_BAD_INPUT);  /* node 0 */
    assert_int_equal(decode_config_with(8, 3), ERR_BAD_INPUT);  /* unknown role */
    assert_int_equal(decode_config_with(9, 1), ERR_BAD_INPUT);  /* not zero */
    assert_int_equal(decode_config_with(20, 1), ERR_BAD_INPUT); /* the same node twice */
    assert_int_equal(decode_config_with(28, 0), ERR_BAD_INPUT); /* storage id 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_has_its_golden_bytes),
        cmocka_unit_test(impossible_messages_are_refused),
        cmocka_unit_test(configuration_has_its_golden_bytes),
        cmocka_unit_test(impossible_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
