from handloom import skeleton


def test_from_rhd_is_the_documented_permutation_and_its_own_inverse() -> None:
    order = list(skeleton.FROM_RHD)
    assert order == [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]
    assert [order[i] for i in order] == list(range(21))


def test_names_run_from_base_to_tip() -> None:
    assert skeleton.NAMES[0] == "wrist"
    assert skeleton.NAMES[1:5] == ("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip")
    assert skeleton.NAMES[17:] == ("little_mcp", "little_pip", "little_dip", "little_tip")
    assert skeleton.NAMES[skeleton.MIDDLE_MCP] == "middle_mcp"


def test_bones_make_a_tree_over_all_keypoints() -> None:
    assert sorted(child for _, child in skeleton.BONES) == list(range(1, 21))
    assert (0, 5) in skeleton.BONES
    assert (7, 8) in skeleton.BONES
