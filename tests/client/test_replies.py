"""Replies are put together from what the messages carry."""

from constellation.client import replies
from constellation.records import Alternative, Finish, FinishReason, Piece, TokenLogprob
from constellation.v1 import common_pb2, constellation_pb2
from constellation.wire import convert


def test_logprobs_of_all_pieces_are_in_the_reply() -> None:
    finish = Finish(reason=FinishReason.STOP, num_prompt_tokens=1, num_tokens=2, elapsed_s=1.0)
    other = Alternative(token=2, text=b"\xc3", logprob=-0.5)
    logprobs = [
        TokenLogprob(token=token, text=b"a", logprob=-1.0, top=(other,)) for token in (4, 5)
    ]
    answer = replies.Answer()
    for index, logprob in enumerate(logprobs):
        piece = Piece(text="a", num_tokens=1, finish=finish if index else None, logprobs=(logprob,))
        message = constellation_pb2.GenerateReply.FromString(
            convert.piece_to_message(piece).SerializeToString()
        )
        if not index:
            message.route.rule = common_pb2.RULE_BEARING
            message.route.mode = common_pb2.MODE_NEAREST
        assert answer.add(message) == piece
    assert answer.reply().logprobs == tuple(logprobs)
    assert answer.reply().finish.reason is FinishReason.STOP
