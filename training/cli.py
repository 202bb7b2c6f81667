"""`showtell-train`: prepare data, train encoder and decoder, score them, export the bundle."""

import click

from training.commands.calibrate import calibrate
from training.commands.captioner import captioner, finetune, self_critical
from training.commands.classifier import classifier, devices
from training.commands.distill import distill
from training.commands.doctor import doctor
from training.commands.familiarity import familiarity
from training.commands.groups import Program
from training.commands.grow import answers, distill_top, grow, maps
from training.commands.joint import joint, pack
from training.commands.prepare import prepare
from training.commands.score import convert, evaluate, export, recognize
from training.commands.score_files import score


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="show-and-tell-server")
def main() -> None:
    """Trains a captioner on your own photos.

    \b
    Examples, in order:
      showtell-train prepare flickr8k data/flickr8k --out runs/records
      showtell-train distill --photos data/photos --exclude runs/records/dev.txt \\
          --teacher mobilenet_v2.weights.h5 --out runs/encoder
      showtell-train captioner --records runs/records --encoder runs/encoder --out runs/captioner
      showtell-train export --records runs/records --encoder runs/encoder --captioner runs/captioner \\
          --classes classes.json --out my-bundle
      showtell-train evaluate my-bundle --records runs/records

    Ctrl-C or SIGTERM stops a command: what is done is kept, and the same command goes on from there. The exit status
    is 0 when all is done, 130 after such a stop, so that a script does not go on with half a run, 1 after an error, and
    2 where the command line is wrong.
    """  # noqa: D301 - \b tells click not to wrap


for command in (
    prepare,
    classifier,
    distill,
    grow,
    maps,
    answers,
    distill_top,
    captioner,
    self_critical,
    finetune,
    pack,
    joint,
    evaluate,
    calibrate,
    familiarity,
    score,
    recognize,
    export,
    convert,
    doctor,
    devices,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
