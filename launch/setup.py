from glob import glob

from setuptools import find_packages, setup

setup(
    name="industriverse_bringup",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"industriverse_bringup": ["**/*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/industriverse_bringup"]),
        ("share/industriverse_bringup", ["package.xml"]),
        ("share/industriverse_bringup/launch", glob("launch/*.launch.py")),
        ("share/industriverse_bringup/config", glob("config/*.xml")),
        ("share/industriverse_bringup/rviz", glob("rviz/*.rviz")),
        ("share/industriverse_bringup/config/cells", glob("config/cells/*.yaml")),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
)
