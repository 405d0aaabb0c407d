"""The typed twin of params.yaml: one frozen section per stage, checked whole every time it is read.

No value has a default here: params.yaml is the one place for each, or `dvc params diff` would lie.
"""

import math
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from handloom.errors import ParamsError

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A section of params.yaml: every key needed, no other key allowed, no value converted but int to float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Lever = Literal[
    "nails", "veins", "skin", "rings", "watches", "gloves", "sleeves", "faces", "held", "things", "shadows", "scenery",
    "blur", "camera",
]  # fmt: skip
"""What the renderer can leave out: nails, veins, or all that makes skin look like skin (both, creases, knuckles, pale
palms); rings, watches, gloves, sleeves; heads with their faces; things held and things about; cast shadows; structured
backgrounds; blur; a camera's noise, colour cast and JPEG."""


class SyntheticParams(Section):
    """The archive that is rendered here."""

    seed: Seed
    num_training: Count
    num_evaluation: Count
    close_ups: Fraction
    """Share of training pictures that show hands from nearby."""
    portraits: Fraction
    """Share of training pictures that show a person's face, arm or leg, and no hand."""
    without: list[Lever]
    """What is left out of training pictures."""


class ArchiveParams(Section):
    """A real archive: gigabytes, research only."""

    zip: str | None
    """A copy that is already on this machine; null downloads `url`."""
    url: str
    size: Count
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """null: recorded at the first verified download and compared ever after."""


class DownloadParams(Section):
    """Where each archive comes from."""

    synthetic: SyntheticParams
    rhd: ArchiveParams
    freihand: ArchiveParams


class CutoutsParams(Section):
    """Pictures composed of the hands in data/cutouts."""

    num_training: Count
    num_evaluation: Count
    relit: Fraction
    """Share of hands shown in another light than the one they were photographed in."""


class PreprocessParams(Section):
    """How an archive becomes training arrays."""

    image_size: Annotated[int, Field(ge=32, le=1024, multiple_of=16)]
    """Side of the mask net's square input, pixels."""
    crop_size: Annotated[int, Field(ge=32, le=1024, multiple_of=16)]
    """Side of the pose net's square input, pixels."""
    crop_scale: Annotated[float, Field(ge=1, le=4)]
    """Side of a hand's crop over the longer side of its mask's box."""
    crop_margin: Annotated[float, Field(ge=0, le=1)]
    """Extra picture kept around a crop for augmentation, as a fraction of the crop's side, both edges together."""
    min_hand_pixels: Count
    """Hands with fewer mask pixels in the source picture get no crop."""
    empty_crops: Fraction
    """Crops without a hand, per crop of one, from which the pose net learns that there are such."""
    background_share: NotNegative
    """Share of training pictures whose background becomes a part of a photograph, and as many such parts alone, where
    data/backgrounds holds photographs without a hand."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    """Share of the training split set aside for validation."""
    max_bad_fraction: Fraction
    """Unreadable samples are left out and counted up to this share of all; 0 allows none."""
    cutouts: CutoutsParams
    seed: Seed


def _no_switch(value: Any) -> Any:
    """Refuse true where 1 is meant: the two are equal, and a Literal asks no more."""
    if isinstance(value, bool):
        raise PydanticCustomError("switch", "should be 1, 2 or 4")
    return value


def _shares(value: Any) -> Any:
    """Take a positive number or a list of such; a union of types would blame both where one is wrong."""
    one = TypeAdapter(Positive, config=ConfigDict(strict=True)).validate_python
    try:
        return [one(share) for share in value] if isinstance(value, list) else one(value)
    except ValidationError:
        raise PydanticCustomError("shares", "should be a number above 0, or a list of such") from None


class ModelParams(Section):
    """Shape of one net."""

    kind: Literal["unet", "mobilenet_fcn"]
    """unet, or the 2019 report's first approach, whose maps are those of the lowest level."""
    width: Count
    """Channels of the first level; each level below doubles them up to `cap`."""
    depth: Annotated[int, Field(ge=1, le=6)]
    """Times the resolution is halved below the stem."""
    stem: Annotated[Literal[1, 2, 4], BeforeValidator(_no_switch)]
    """Stride of the first convolution; 1 is the full-resolution net of the 2019 report."""
    decoder: Annotated[float | list[float], PlainValidator(_shares)]
    """Channels of the way up as a fraction of those of the way down; a unet takes one for each level too, from the
    highest down."""
    cap: Count

    @model_validator(mode="after")
    def _decoder_fits(self) -> Self:
        if isinstance(self.decoder, list) and (self.kind != "unet" or len(self.decoder) != self.depth):
            wanted = f"one number, or {self.depth} of them" if self.kind == "unet" else "one number"
            raise ValueError(f"decoder: must be {wanted}, got '{self.decoder}'; give that many")
        return self

    @property
    def stride(self) -> int:
        """Pixels of a picture that one of the lowest level stands for: what a picture's side must divide by."""
        return int(self.stem * 2**self.depth)


class AugmentParams(Section):
    """Ranges of the random changes to a training picture; all 0 changes nothing."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[float, Field(ge=0, lt=1)]
    """Zoom is drawn log-uniformly from [1 - scale, 1 / (1 - scale)]."""
    shift: Fraction
    """Largest translation, as a fraction of the crop's side."""
    flip: Fraction
    """Probability of a left-right mirror."""
    color: Fraction
    """Relative range of contrast, brightness and the gain of each channel."""
    saturation: Fraction
    """Relative range of how colorful; 1 reaches from grey to twice as much."""
    sharpness: Annotated[float, Field(ge=0, lt=1)]
    """Gain of detail is drawn log-uniformly from [1 - sharpness, 1 / (1 - sharpness)]."""


class PoseModelParams(ModelParams):
    """Shape of the keypoint net."""

    upright: bool
    """Whether it reads each crop twice: as it is, and turned so that the hand it saw stands upright."""


class PoseAugmentParams(AugmentParams):
    """Ranges of the random changes to a hand's crop."""

    upright: Fraction
    """Share of crops that are first turned so that the middle finger's base stands above the wrist."""


class TrainParams(Section):
    """How one of the two nets is trained."""

    model: ModelParams
    augment: AugmentParams
    begin_from: str | None
    """File of a trained net of the same levels, nowhere wider, whose weights it begins with; null draws them."""
    epochs: Positive
    """Passes over the training rows; steps = epochs x rows / batch_size."""
    batch_size: Count
    parts: Count
    """Equal parts that a batch is cut into on a CPU, each on cores of its own; batch norm sees one part."""
    precision: Literal["auto", "float32"]
    """auto: the net's products in bfloat16 where the machine is faster with it; weights stay float32."""
    optimizer: Literal["muon", "adamw"]
    """muon moves the inner convolutions by Muon and the rest by AdamW, at one rate."""
    learning_rate: Positive
    warmup_fraction: Fraction
    """Share of the steps over which the learning rate rises from 0."""
    final_learning_rate: Fraction
    """End of the cosine decay as a fraction of `learning_rate`; 1 keeps the rate constant."""
    weight_decay: NotNegative
    """0 with adamw is plain Adam."""
    clip_norm: NotNegative
    """Largest norm of the gradient; 0 does not clip."""
    early_fraction: Fraction
    """Share of the steps, the first ones, that see their samples at `early_size`: many pictures in little time."""
    early_size: Count
    """Side of the net's input in these steps, px."""
    ema: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the averaged weights that are validated and saved; 0 uses the last weights."""
    validate_every: Count
    """Steps between validations."""
    checkpoint_every: Count
    """Steps between resume checkpoints."""
    gate_after: Annotated[int, Field(ge=0)]
    """Steps after which a validation that says nothing stops the training, as the last one does; 0: none does."""
    seed: Seed

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.parts:
            raise ValueError(f"batch_size: must divide by parts = {self.parts}, got '{self.batch_size}'; change either")
        return self


BEFORE: Final = {"begin_from": None}
"""Of TrainParams what nets of earlier versions lack, and what they were trained with in its place."""
BEFORE_AUGMENT: Final = {"saturation": 0.0, "sharpness": 0.0}
"""The same of AugmentParams."""


class SegmentParams(TrainParams):
    """Training of the hand mask net."""

    iou_weight: NotNegative
    """Weight of the soft IoU beside the cross-entropy; 0 is the 2019 report's loss."""
    side_weight: NotNegative
    """Weight of left against right on the hands' pixels; 0 tells hand from background only, as the report did."""
    centre_weight: NotNegative
    """Weight of each hand pixel's way to its own hand's centre, which parts hands that touch; 0 takes what touches for
    one hand."""


class PoseParams(TrainParams):
    """Training of the keypoint net."""

    model: PoseModelParams
    augment: PoseAugmentParams
    loss: Literal["cross_entropy", "l2", "weighted_l2", "l1", "bce", "soft_iou"]
    """What holds the maps to their targets; all but the first are there to show why they fail or lag."""
    target_peak: Literal["density", "one"]
    """Height of a target, but for cross_entropy: that of the blurred point, 1 / (2 pi sigma^2), or 1."""
    sigma_px: Positive
    """Standard deviation of the target Gaussians, pixels of the network input."""
    mask_opacity: Fraction
    """Share of the hand's mask in every target, but for cross_entropy."""
    coordinate_weight: NotNegative
    """Weight of the distance between the softmax's mean and the keypoint, in units of sigma."""
    decode_radius: Annotated[int, Field(ge=0, le=16)]
    """Pixels of a map about its maximum whose mean is the keypoint; 0: the maximum itself."""
    visible_weight: NotNegative
    """Weight of the visibility of each keypoint."""
    side_weight: NotNegative
    """Weight of left against right."""
    hand_weight: NotNegative
    """Weight of whether the crop shows a hand at all."""


class GesturesParams(Section):
    """Training of the net that names what keypoints say."""

    num_hands: Count
    """Drawn, a tenth of them held out."""
    epochs: Positive
    batch_size: Count
    width: Count
    """Of both hidden layers."""
    learning_rate: Positive
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    noise: NotNegative
    """Standard deviation of what is added to each of its inputs in training."""
    views: Annotated[int, Field(ge=1, le=32)]
    """Ways to show the pose net a hand, the first so many of `views.VIEWS`, whose mean names its gesture in figures."""
    seed: Seed


class LiftParams(Section):
    """Training of the net that lifts keypoints into space."""

    enabled: bool
    """Whether it is trained at all."""
    epochs: Positive
    batch_size: Count
    width: Count
    """Of its three hidden layers."""
    learning_rate: Positive
    noise: NotNegative
    """Most that keypoints stray in training: standard deviation over the hand's extent."""
    seed: Seed


class EvaluateParams(Section):
    """How the test split is scored and shown."""

    batch_size: Count
    flip_test: bool
    """Whether a mask is the mean over a picture and its mirror image; keypoints follow their protocols."""
    mask_scales: Annotated[list[Positive], Field(min_length=1)]
    """Sizes at which the mask net sees a picture, over `image_size`; the mean of its logits counts."""
    closer: Annotated[float, Field(ge=0, le=4)]
    """Side of the square about each found hand that the mask net is shown again, over the hand's box; 0: none is."""
    resamples: Annotated[int, Field(ge=100)]
    """Drawn for each 95 % interval."""
    num_pictures: Count
    """Samples drawn in each figure of predictions."""


class ExportParams(Section):
    """How nets become ONNX files."""

    batch_size: Count
    calibration_pictures: Count
    """Of the validation split, from which int8 learns the range of every layer."""
    max_drop: Fraction
    """Of the headline figure on the validation split, beyond which the stage fails."""


class Params(Section):
    """All of params.yaml."""

    sources: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], NotNegative | None]
    """Weight of each source in training: 0 is scored alone, null not used."""
    download: DownloadParams
    preprocess: PreprocessParams
    segment: SegmentParams
    pose: PoseParams
    gestures: GesturesParams
    lift: LiftParams
    evaluate: EvaluateParams
    export: ExportParams

    @model_validator(mode="after")
    def _a_source_trains(self) -> Self:
        if not any(self.sources.values()):
            raise ValueError(f"sources: one must have a weight above 0, got '{self.sources}'; set synthetic to 1")
        return self

    @property
    def used(self) -> dict[str, float]:
        """The sources that are used, with their weights."""
        return {name: weight for name, weight in self.sources.items() if weight is not None}

    @model_validator(mode="after")
    def _input_survives_every_halving(self) -> Self:
        for name, net, key in (("segment", self.segment, "image_size"), ("pose", self.pose, "crop_size")):
            stride = net.model.stride
            sizes = {f"preprocess.{key}": (whole := getattr(self.preprocess, key))}
            if net.early_fraction:
                sizes[f"{name}.early_size"] = net.early_size
                if net.early_size > whole:
                    raise ValueError(f"{name}.early_size: at most preprocess.{key} = {whole}, got '{net.early_size}'")
            for said, size in sizes.items():
                if size % stride:
                    raise ValueError(
                        f"{said}: must divide by {name}.model's stem x 2^depth = {stride}, "
                        f"got '{size}'; choose another size, stem or depth"
                    )
        for scale in self.evaluate.mask_scales:
            stride = self.segment.model.stride
            size = scale * self.preprocess.image_size
            if not math.isclose(size, stride * round(size / stride)):  # 800 x 2.2 is 1760 and a bit
                raise ValueError(
                    f"evaluate.mask_scales: image_size x scale must divide by {stride}, got '{scale}', "
                    f"which makes {size:g}; choose a multiple of {stride / self.preprocess.image_size:g}"
                )
        return self

    @classmethod
    def load(cls, path: Path = Path("params.yaml")) -> Self:
        """Read and check the whole file, so that a typo anywhere stops every stage at once."""
        try:
            raw = YAML(typ="safe").load(path)
        except FileNotFoundError:
            raise ParamsError(f"{path}: no such file; run from the repository's root") from None
        except YAMLError as error:
            raise ParamsError(f"{path}: not valid YAML, {' '.join(str(error).split())}; correct it") from None
        return cls.parse(raw, str(path))

    @classmethod
    def parse(cls, raw: Any, where: str) -> Self:
        """Check plain YAML data; raises ParamsError that names the first wrong key, its value and the remedy."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            # a misspelt key is also a missing one: say the spelling first
            first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
            said = "".join(c if c.isprintable() else repr(c)[1:-1] for c in _explain(cls, first))  # keys may hold any
            raise ParamsError(f"{where}: {said}") from None


def _explain(root: type[Section], error: ErrorDetails) -> str:
    """Say in one line what pydantic found: `key: what, got 'value'; what to do`."""
    key = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            known = sorted(_section(root, error["loc"][:-1]).model_fields)
            near = get_close_matches(str(error["loc"][-1]), known, n=1)
            return f"{key}: unknown key; " + (
                f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            )
        case "missing":
            return f"{key}: missing; add it, presets/default.yaml shows it"
        case "value_error":
            return f"{key}.{error['ctx']['error']}".removeprefix(".")
        case _:
            what = error["msg"].removeprefix("Input ")
            return f"{key}: {what}, got '{error['input']}'; presets/default.yaml shows a good value"


def _section(root: type[Section], loc: tuple[int | str, ...]) -> type[Section]:
    """Give the section class that stands at a place of the file."""
    for part in loc:
        kind = root.model_fields[str(part)].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        root = kind
    return root
