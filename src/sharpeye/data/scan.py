"""Which reader a folder of images needs: a table of what is learned and what names the classes.

task        data.label_from   read by
classify    auto, folder      image_folder: one folder a class, or array files
classify    prefix            prefixes: the class begins the file's name
classify    xml               pascal_voc
localize    any; auto is xml  pascal_voc: every image needs a box
"""

from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.types import SampleSet
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.label_prefix import scan_prefixes
from sharpeye.data.pascal_voc import scan_voc


def scan_dataset(config: Config, root: Path, *, least_classes: int = 2) -> SampleSet:
    """List the images of a folder as a configuration wants them.

    Args:
        config: `task` and `data.*` are looked at.
        least_classes: 2 to train; 1 where a model's answers for one class are of use.

    Returns:
        a SampleSet whose samples have no digest yet, and boxes if they were read from XML.

    Raises:
        DataError: no such folder, or nothing in it that can be used.
    """
    follow, label_from = config.data.follow_links, config.data.label_from
    if config.task == "localize" or label_from == "xml":
        return scan_voc(
            root,
            label_from="xml" if label_from == "auto" else label_from,
            box_choice=config.data.box_choice,
            follow_links=follow,
            least_classes=least_classes,
        )
    scan = scan_prefixes if label_from == "prefix" else scan_folder
    return scan(root, follow_links=follow, least_classes=least_classes)
