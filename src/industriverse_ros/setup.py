from setuptools import find_packages, setup

setup(
    name="industriverse_ros",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"industriverse_ros": ["**/*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/industriverse_ros"]),
        ("share/industriverse_ros", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
)
