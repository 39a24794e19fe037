/* Claims about the encodings of core/raft: golden bytes, and what a decoder refuses. */
#include "raft/raft.h"
#include "test.h"

static const uint8_t golden_msg[RAFT_MSG_BYTES] = {
    0x06, 0x07, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* type, flags, zero, group */
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
    .handover = true,
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
    assert_true(back.reject && back.repairing && back.handover);
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
    assert_int_equal(decode_with(0, 9), ERR_OK);
    assert_int_equal(decode_with(0, 10), ERR_BAD_INPUT);
    assert_int_equal(decode_with(1, 8), ERR_BAD_INPUT);
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
    config.members[0] =
        (struct raft_member){.node = 1, .role = RAFT_VOTER, .storage_id = 0x1122334455667788};
    config.members[1] = (struct raft_member){.node = 7, .role = RAFT_LEARNER, .storage_id = 2};
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

static const uint8_t golden_joint[] = {
    0x02, 0x01, 0x03, 0x00,                         /* version, joint, count */
    0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, /* node 1: a voter, to leave */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* storage id */
    0x07, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, /* node 7: a learner, to be a voter */
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* storage id */
    0x08, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, /* node 8: new, promotable */
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* storage id */
};

static void joint_configuration_has_its_golden_bytes(void **state)
{
    (void)state;
    struct raft_config config = {.count = 3, .joint = true};
    config.members[0] =
        (struct raft_member){.node = 1, .role_old = RAFT_VOTER, .storage_id = 0x1122334455667788};
    config.members[1] = (struct raft_member){
        .node = 7, .role = RAFT_VOTER, .role_old = RAFT_LEARNER, .storage_id = 2};
    config.members[2] = (struct raft_member){.node = 8, .role = RAFT_PROMOTABLE, .storage_id = 3};
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&config, &b), ERR_OK);
    assert_int_equal(b.len, sizeof(golden_joint));
    assert_memory_equal(b.data, golden_joint, sizeof(golden_joint));
    struct raft_config back;
    assert_int_equal(raft_config_decode(buf_bytes(&b), &back), ERR_OK);
    assert_true(back.joint);
    assert_int_equal(back.count, 3);
    assert_int_equal(back.members[0].role, RAFT_NOT_A_MEMBER);
    assert_int_equal(back.members[0].role_old, RAFT_VOTER);
    assert_int_equal(back.members[1].role, RAFT_VOTER);
    assert_int_equal(back.members[1].role_old, RAFT_LEARNER);
    assert_int_equal(back.members[2].role, RAFT_PROMOTABLE);
    buf_done(&b);
}

static void largest_configuration_fits(void **state)
{
    (void)state;
    struct raft_config config = {.count = RAFT_MEMBERS_MAX, .joint = true};
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        config.members[i] = (struct raft_member){
            .node = i + 1, .role = RAFT_VOTER, .role_old = RAFT_VOTER, .storage_id = i + 1};
    }
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&config, &b), ERR_OK);
    assert_int_equal(b.len, RAFT_CONFIG_BYTES_MAX);
    buf_done(&b);
}

static enum err decode_joint_with(size_t offset, uint8_t byte)
{
    uint8_t bytes[sizeof(golden_joint)];
    memcpy(bytes, golden_joint, sizeof(bytes));
    bytes[offset] = byte;
    struct raft_config config;
    return raft_config_decode(bytes_of(bytes, sizeof(bytes)), &config);
}

static void impossible_joint_configurations_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_joint_with(9, 2), ERR_BAD_INPUT);  /* no voter in the old half */
    assert_int_equal(decode_joint_with(24, 2), ERR_BAD_INPUT); /* nor in the new one */
    assert_int_equal(decode_joint_with(0, 1), ERR_BAD_INPUT);  /* version 1 is never joint */
    assert_int_equal(decode_joint_with(0, 3), ERR_BAD_INPUT);  /* a later version */
    assert_int_equal(decode_joint_with(1, 0), ERR_BAD_INPUT);  /* two roles, but not joint */
    assert_int_equal(decode_joint_with(1, 2), ERR_BAD_INPUT);  /* an unknown flag */
    assert_int_equal(decode_joint_with(24, 4), ERR_BAD_INPUT); /* an unknown role */
    assert_int_equal(decode_joint_with(25, 4), ERR_BAD_INPUT);
    assert_int_equal(decode_joint_with(26, 1), ERR_BAD_INPUT); /* not zero */
    assert_int_equal(decode_joint_with(40, 0), ERR_BAD_INPUT); /* a member of neither half */
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
    assert_int_equal(decode_config_with(0, 3), ERR_BAD_INPUT); /* a later version */
    assert_int_equal(decode_config_with(0, 2), ERR_OK);        /* which can say the same */
    assert_int_equal(decode_config_with(1, 1), ERR_BAD_INPUT); /* a flag that version 1 has not */
    assert_int_equal(decode_config_with(2, 1), ERR_BAD_INPUT); /* bytes left over */
    assert_int_equal(decode_config_with(2, 3), ERR_BAD_INPUT); /* bytes missing */
    assert_int_equal(decode_config_with(3, 1), ERR_BAD_INPUT); /* too many */
    assert_int_equal(decode_config_with(4, 0), ERR_BAD_INPUT); /* node 0 */
    assert_int_equal(decode_config_with(4, 255), ERR_OK);
    assert_int_equal(decode_config_with(5, 1), ERR_BAD_INPUT);  /* node 257 */
    assert_int_equal(decode_config_with(7, 1), ERR_BAD_INPUT);  /* node 16,777,217 */
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
        cmocka_unit_test(joint_configuration_has_its_golden_bytes),
        cmocka_unit_test(largest_configuration_fits),
        cmocka_unit_test(impossible_joint_configurations_are_refused),
        cmocka_unit_test(impossible_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
